//! Events of plans, and their delivery: none in a gap, where an observer could hold up everything.

use std::time::Duration;

use crate::error::Error;
use crate::plan::{Gap, Plan, Step};

/// An event of a plan that is carried out, for the observer of [`carry_out`](crate::LivepatchClient::carry_out).
///
/// In a gap, and during a REPLACE, no events are reported: those of the steps follow.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum StepEvent<'a> {
    /// A step begins.
    Begin {
        /// The step.
        step: &'a Step,
        /// Its number, counted from 0.
        index: usize,
        /// The number of steps.
        total: usize,
    },
    /// A step has ended.
    End {
        /// The step.
        step: &'a Step,
        /// Its number, counted from 0.
        index: usize,
        /// The number of steps.
        total: usize,
        /// The time that it took.
        took: Duration,
        /// The cause if it failed.
        error: Option<&'a Error>,
    },
    /// A gap is about to be entered: the host will run without some payloads until [`GapCloses`](Self::GapCloses).
    ///
    /// Block signals now: a program that ends in the gap leaves the host in it.
    GapOpens {
        /// The payloads. None before a REPLACE that leaves no gap, unless Xen gives it up half-way.
        gaps: &'a [Gap],
    },
    /// No gap is open any more: all wanted payloads are applied, or the way back has ended. The events of its steps follow.
    GapCloses,
    /// A new plan takes the place of the rest of the plan: Xen refused a step for a reason that no inventory shows, or another
    /// tool interfered in a gap.
    Replanned {
        /// The plan, from where the host is now.
        plan: &'a Plan,
    },
    /// A step of the way back to the old level has ended.
    Back {
        /// The step.
        step: &'a Step,
        /// The time that it took.
        took: Duration,
        /// The cause if it failed.
        error: Option<&'a Error>,
    },
}

/// An event that is reported later.
enum Later {
    Step { step: Step, index: usize, total: usize, took: Duration, error: Option<Error>, begun: bool },
    Back { step: Step, took: Duration, error: Option<Error> },
    Replanned(Box<Plan>),
}

/// The observer, and the events that it gets once the gap is closed.
pub(super) struct Events<'o> {
    observer: &'o mut dyn FnMut(StepEvent<'_>),
    /// `None` while the observer may be called.
    later: Option<Vec<Later>>,
    /// True if a gap, or a REPLACE, was announced to the observer.
    announced: bool,
    /// True in a gap that the plan showed.
    in_gap: bool,
    /// True if the beginning of the current step was reported.
    begun: bool,
}

impl<'o> Events<'o> {
    pub(super) fn of(observer: &'o mut dyn FnMut(StepEvent<'_>)) -> Self {
        Self { observer, later: None, announced: false, in_gap: false, begun: false }
    }

    pub(super) fn begin(&mut self, step: &Step, index: usize, total: usize) {
        self.begun = self.later.is_none();
        if self.begun {
            (self.observer)(StepEvent::Begin { step, index, total });
        }
    }

    pub(super) fn end(&mut self, step: &Step, index: usize, total: usize, took: Duration, error: Option<&Error>) {
        match &mut self.later {
            Some(later) => {
                let (step, error, begun) = (step.clone(), error.cloned(), self.begun);
                later.push(Later::Step { step, index, total, took, error, begun });
            }
            None => (self.observer)(StepEvent::End { step, index, total, took, error }),
        }
    }

    pub(super) fn back(&mut self, step: &Step, took: Duration, error: Option<&Error>) {
        match &mut self.later {
            Some(later) => later.push(Later::Back { step: step.clone(), took, error: error.cloned() }),
            None => (self.observer)(StepEvent::Back { step, took, error }),
        }
    }

    /// Reports a new plan; later, if the host is in a gap.
    pub(super) fn replanned(&mut self, plan: &Plan) {
        match &mut self.later {
            Some(later) => later.push(Later::Replanned(Box::new(plan.clone()))),
            None => (self.observer)(StepEvent::Replanned { plan }),
        }
    }

    pub(super) fn is_in_gap(&self) -> bool {
        self.in_gap
    }

    /// Announces a gap, or with none a REPLACE, and calls the observer no more until [`close`](Self::close).
    pub(super) fn open(&mut self, gaps: &[Gap]) {
        self.in_gap |= !gaps.is_empty();
        if !std::mem::replace(&mut self.announced, true) {
            (self.observer)(StepEvent::GapOpens { gaps });
        }
        self.hold();
    }

    /// Calls the observer no more until [`close`](Self::close), without a word.
    pub(super) fn hold(&mut self) {
        self.later.get_or_insert_default();
    }

    pub(super) fn close(&mut self) {
        let Some(later) = self.later.take() else { return };
        self.in_gap = false;
        if std::mem::take(&mut self.announced) {
            (self.observer)(StepEvent::GapCloses);
        }
        for event in &later {
            match event {
                Later::Step { step, index, total, took, error, begun } => {
                    let (index, total, error) = (*index, *total, error.as_ref());
                    if !begun {
                        (self.observer)(StepEvent::Begin { step, index, total });
                    }
                    (self.observer)(StepEvent::End { step, index, total, took: *took, error });
                }
                Later::Back { step, took, error } => {
                    (self.observer)(StepEvent::Back { step, took: *took, error: error.as_ref() });
                }
                Later::Replanned(plan) => (self.observer)(StepEvent::Replanned { plan }),
            }
        }
    }
}
