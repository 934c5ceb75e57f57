//! Events of a plan that is carried out, and their delivery: none in a gap, where an observer could hold up everything.

use std::time::Duration;

use crate::error::Error;
use crate::plan::{Gap, Plan, Step};

/// An event of a plan that is carried out, for the observer of [`carry_out`](crate::LivepatchClient::carry_out).
///
/// No events are reported in a gap or during a REPLACE. Those of the steps follow afterwards.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StepEvent {
    /// A step begins.
    Begin {
        /// The step.
        step: Step,
        /// Its number, counted from 0.
        index: usize,
        /// The number of steps.
        total: usize,
    },
    /// A step has ended.
    End {
        /// The step.
        step: Step,
        /// Its number, counted from 0.
        index: usize,
        /// The number of steps.
        total: usize,
        /// The time that it took.
        took: Duration,
        /// The cause if it failed.
        error: Option<Error>,
    },
    /// A gap is about to be entered: the host will run without some payloads until [`GapCloses`](Self::GapCloses).
    ///
    /// Block signals now: a program that ends in the gap leaves the host in it.
    GapOpens {
        /// The gaps. Empty before a REPLACE without planned gaps, which leaves one only if Xen gives it up half-way.
        gaps: Vec<Gap>,
    },
    /// No gap is open any more: all wanted payloads are applied, or the way back has ended. The events of its steps follow.
    GapCloses,
    /// A new plan takes the place of the rest of the plan: Xen refused a step for a reason that no inventory shows, or another
    /// tool interfered in a gap.
    Replanned {
        /// The plan, from the present state of the host.
        plan: Box<Plan>,
    },
    /// A step of the way back to the old level has ended.
    Back {
        /// The step.
        step: Step,
        /// The time that it took.
        took: Duration,
        /// The cause if it failed.
        error: Option<Error>,
    },
}

/// The observer, and the events that it gets once the gap is closed.
pub(super) struct Events<'o> {
    observer: &'o mut dyn FnMut(StepEvent),
    /// `None` while the observer may be called.
    held: Option<Vec<StepEvent>>,
    /// True if a gap, or a REPLACE, was announced to the observer.
    announced: bool,
    /// True in a gap that the plan showed.
    in_gap: bool,
}

impl<'o> Events<'o> {
    pub(super) fn new(observer: &'o mut dyn FnMut(StepEvent)) -> Self {
        Self { observer, held: None, announced: false, in_gap: false }
    }

    /// Reports an event: now, or once the gap is closed.
    pub(super) fn report(&mut self, event: StepEvent) {
        match &mut self.held {
            Some(held) => held.push(event),
            None => (self.observer)(event),
        }
    }

    pub(super) const fn is_in_gap(&self) -> bool {
        self.in_gap
    }

    /// Announces a gap, or with none a REPLACE, and holds events until [`close`](Self::close).
    pub(super) fn open(&mut self, gaps: &[Gap]) {
        self.in_gap |= !gaps.is_empty();
        if !std::mem::replace(&mut self.announced, true) {
            (self.observer)(StepEvent::GapOpens { gaps: gaps.to_vec() });
        }
        self.hold();
    }

    /// Holds events until [`close`](Self::close), without an announcement.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Reports that no gap is open any more, and the events that were held.
    pub(super) fn close(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.in_gap = false;
        if std::mem::take(&mut self.announced) {
            (self.observer)(StepEvent::GapCloses);
        }
        for event in held {
            (self.observer)(event);
        }
    }
}
