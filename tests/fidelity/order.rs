//! The order in which a host handled concurrent requests, as far as its answers reveal it.
//!
//! Xen handles one request at a time. The position of the action among the others is unknown, and so is the end of the work
//! that it, or another, began. The simulated host tries one order after the other until its answers and its final state are
//! those of the real one.

use super::beside::{Answers, Beside, Exchange};
use super::recipe::Ingredients;
use super::side::Side;
use super::step::Outcome;
use crate::prelude::*;

/// The time that the CPUs of the simulated host take to quiesce, unless they are to take too long.
const QUIESCE_TIME: Duration = Duration::from_micros(100);

/// Something that a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The action that the others are beside.
    Action,
    /// The next of the others.
    Other,
    /// The work that is outstanding, in time or not.
    End { late: bool },
}

use Event::{Action, End, Other};

pub type Order = Vec<Event>;

/// The orders that explain what the real host answered, and what it has left.
pub struct Search<'a> {
    /// The version of the simulated host's list that counts as the first.
    list_version: u32,
    real: &'a Answers,
    outcome: &'a Outcome,
    /// Continues after the first that is found.
    all: bool,
    found: Vec<(Order, SimulatedXen)>,
}

impl<'a> Search<'a> {
    pub fn new(side: &Side, real: &'a Answers, outcome: &'a Outcome) -> Self {
        let begun = [&real.action].into_iter().chain(&real.others).filter(|exchange| may_have_begun(exchange)).count();
        Self { list_version: side.list_version, real, outcome, all: begun > 1, found: Vec::new() }
    }

    /// An order, if there is any, and whether all that there are have led to the same host.
    pub fn run(mut self, xen: &SimulatedXen) -> Option<(Order, bool)> {
        let xen = xen.fork();
        xen.set_pace(Pace::Held);
        self.go(&xen, &mut Vec::new(), 0, false);
        let stacks: Vec<_> = self.found.iter().map(|(_, xen)| xen.applied()).collect();
        let same = stacks.windows(2).all(|pair| pair[0] == pair[1]);
        let (order, _) = self.found.into_iter().next()?;
        Some((order, same))
    }

    /// `outstanding`: there may be work.
    fn go(&mut self, xen: &SimulatedXen, order: &mut Order, next: usize, outstanding: bool) {
        let sent = order.contains(&Action);
        if sent && next == self.real.others.len() && !outstanding && self.is_left(xen) {
            self.found.push((order.clone(), xen.fork()));
        }
        // That work is over at once is tried first: then what is said to have come meanwhile can't have come later.
        for event in [End { late: false }, Action, Other, End { late: true }] {
            if !self.all && !self.found.is_empty() {
                return;
            }
            let exchange = match event {
                Action if !sent => Some(&self.real.action),
                Other if next < self.real.others.len() => Some(&self.real.others[next]),
                End { .. } if outstanding => None,
                _ => continue,
            };
            let fork = xen.fork();
            if exchange.is_some_and(|exchange| answer(&fork, exchange, self.list_version) != exchange.answer) {
                continue;
            }
            if let End { late } = event {
                end(&fork, late);
            }
            order.push(event);
            let outstanding = exchange.is_some_and(|exchange| outstanding || may_have_begun(exchange));
            self.go(&fork, order, next + usize::from(event == Other), outstanding);
            order.pop();
        }
    }

    /// Returns true if a host like this is what is left.
    fn is_left(&self, xen: &SimulatedXen) -> bool {
        let side = Side::simulated(&xen.fork());
        side.rows() == self.outcome.rows && side.shown() == self.outcome.shown
    }
}

fn may_have_begun(exchange: &Exchange) -> bool {
    exchange.request.may_begin_work() && exchange.answer.result.is_ok()
}

/// The answer of this host to the request of another; its LIST stops early if the other's did.
fn answer(xen: &SimulatedXen, exchange: &Exchange, list_version: u32) -> RawAnswer {
    if exchange.request.is_cut_short(&exchange.answer) {
        xen.on_list().stop_after(exchange.answer.result.unwrap_or_default());
    }
    exchange.request.since(list_version, exchange.sysctl.send(xen).unwrap())
}

fn end(xen: &SimulatedXen, late: bool) {
    xen.set_quiesce_time(if late { Duration::MAX } else { QUIESCE_TIME });
    xen.finish_action();
    xen.set_quiesce_time(QUIESCE_TIME);
}

/// Has the simulated host do all of it in this order. Tells with what the others were answered whether the action that
/// they were beside was pending then.
pub fn replay(
    xen: &SimulatedXen,
    side: &Side,
    question: &RawSysctl,
    real: &Answers,
    order: &[Event],
) -> (RawAnswer, Vec<(RawAnswer, bool)>) {
    xen.set_pace(Pace::Held);
    let (mut action, mut others) = (None, Vec::new());
    for event in order {
        match event {
            Action => action = Some(answer(xen, &real.action, side.list_version)),
            Other => {
                let pending = question.send(xen).unwrap().result.is_err_and(|errno| errno.number() == 16);
                others.push((answer(xen, &real.others[others.len()], side.list_version), pending));
            }
            End { late } => end(xen, *late),
        }
    }
    xen.set_pace(Pace::default());
    (action.unwrap(), others)
}

/// Returns true if a copy of the simulated host survives the requests; otherwise the real one may not. Each action is over at once,
/// so that none is refused because of another.
pub fn rehearse(xen: &SimulatedXen, of: &Ingredients, beside: &Beside) -> bool {
    let fork = xen.fork();
    fork.set_pace(Pace::Polls(0));
    for request in [&beside.action].into_iter().chain(&beside.others) {
        drop(request.sysctl(fork.release(), of).send(&fork).unwrap());
    }
    fork.crashed().is_none()
}
