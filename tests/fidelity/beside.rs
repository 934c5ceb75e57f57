//! An action that nobody waits for, and the requests that are sent meanwhile.
//!
//! A real Xen from 4.13.1 on does the work on the CPU that ACTION was called on, before the caller runs again; only another
//! CPU can see it pending, and only for the short time until Xen stops that one. So a second thread either asks again and
//! again if the action is pending, and sends its requests once it is; or it sends them while ACTION is in a slow hook, so
//! that the first of them waits for Xen's lock and gets it as soon as the action is pending. The order is still random, and
//! is found from the answers, see `order.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{hint, thread};

use super::recipe::Ingredients;
use super::request::{Body, Name, Request};
use super::side::Side;
use crate::prelude::*;

#[derive(Clone, Debug)]
pub struct Beside {
    pub action: Request,
    pub others: Vec<Request>,
    pub start: Start,
}

/// When the others are sent.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// When the action is pending, or over.
    Pending,
    /// So long after the action.
    After(Duration),
}

/// A request as it went over, and the answer.
pub struct Exchange {
    pub request: Request,
    pub sysctl: RawSysctl,
    pub answer: RawAnswer,
}

/// The answers of a host.
pub struct Answers {
    pub action: Exchange,
    /// In the order in which they were sent. The first may have asked whether the action was pending: it was.
    pub others: Vec<Exchange>,
}

impl Beside {
    /// The payload that the action is about.
    fn subject(&self) -> &Name {
        match &self.action.body {
            Body::Act { name, .. } => name,
            other => panic!("no action: {other:?}"),
        }
    }

    /// Asks whether the action is pending, and changes nothing.
    pub fn question(&self) -> Request {
        Request::new(Body::action(self.subject().clone(), 0))
    }

    /// Sends everything to the real host, and waits until no action is under way.
    pub fn run(&self, side: &Side, of: &Ingredients) -> Answers {
        side.before_action();
        let sysctl = |request: &Request| request.sysctl(side.release, of);
        let (question, action) = (self.question(), sysctl(&self.action));
        let asked = sysctl(&question);
        let others: Vec<RawSysctl> = self.others.iter().map(sysctl).collect();
        let (answer, pending, answers) = self.send(side, &action, &asked, &others);
        for request in [&self.action].into_iter().chain(&self.others) {
            if let Body::Act { name, command: 2..=4, .. } = &request.body {
                side.wait_for_end(&name.bytes);
            }
        }
        side.settle();
        let exchange = |request: &Request, sysctl, answer| {
            let answer = request.since(side.list_version, answer);
            Exchange { request: request.clone(), sysctl, answer }
        };
        let pending = pending.map(|answer| exchange(&question, asked, answer));
        let others = self.others.iter().zip(others).zip(answers);
        let others = others.map(|((request, sysctl), answer)| exchange(request, sysctl, answer));
        Answers { action: exchange(&self.action, action, answer), others: pending.into_iter().chain(others).collect() }
    }

    /// Answers to the action, to the question if it was pending, and to the others.
    fn send(
        &self,
        side: &Side,
        action: &RawSysctl,
        question: &RawSysctl,
        others: &[RawSysctl],
    ) -> (RawAnswer, Option<RawAnswer>, Vec<RawAnswer>) {
        let prepare = |sysctl: &RawSysctl| sysctl.prepare(&*side.raw).unwrap();
        let (mut action, mut question) = (prepare(action), prepare(question));
        let mut others: Vec<_> = others.iter().map(prepare).collect();
        let [ready, begun, over] = [const { AtomicBool::new(false) }; 3];
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                ready.store(true, Ordering::SeqCst);
                let mut pending = None;
                match self.start {
                    Start::Pending => {
                        while pending.is_none() && !over.load(Ordering::SeqCst) {
                            pending = Some(question.send()).filter(|result| *result == Err(Errno::new(16)));
                        }
                    }
                    Start::After(time) => {
                        await_flag(&begun);
                        let begun = Instant::now();
                        while begun.elapsed() < time {
                            hint::spin_loop();
                        }
                    }
                }
                let results: Vec<_> = others.iter_mut().map(PreparedSysctl::send).collect();
                let others = others.iter().zip(results).map(|(other, result)| other.answer(result)).collect();
                (pending.map(|result| question.answer(result)), others)
            });
            await_flag(&ready);
            begun.store(true, Ordering::SeqCst);
            let result = action.send();
            over.store(true, Ordering::SeqCst);
            let (pending, others) = second.join().unwrap();
            (action.answer(result), pending, others)
        })
    }
}

fn await_flag(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        hint::spin_loop();
    }
}
