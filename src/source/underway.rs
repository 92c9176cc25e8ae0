//! Deliveries on their way to the disk: the next ones are handed over while those before them are
//! being committed, and what came of each is told in the same order.
//!
//! Invariant: they are kept in their order. Once one is refused none behind it is kept, until all of
//! them came back to whoever handed them over, to be seen to one after the other.

use std::collections::VecDeque;
use std::future::ready;

use super::Context;
use super::context::{Delivery, Keeping};
use crate::store::Line;

/// Deliveries of one conversation; `R` says what each of them settles.
pub(super) struct Underway<'a, R> {
    context: &'a Context,
    line: Line,
    /// Something was refused, so nothing more is handed over until all came back.
    is_halted: bool,
    waiting: VecDeque<Waiting<'a, R>>,
}

struct Waiting<'a, R> {
    receipt: R,
    /// As it was handed over, for the case that it comes back.
    delivery: Delivery,
    /// `None` if it was not handed over at all.
    answer: Option<Keeping<'a>>,
}

/// What came of a delivery.
pub(super) struct Settled<R> {
    /// What it settles.
    pub(super) receipt: R,
    /// The delivery, if it was not kept.
    pub(super) back: Option<Delivery>,
}

impl<'a, R> Underway<'a, R> {
    pub(super) fn new(context: &'a Context) -> Underway<'a, R> {
        Underway {
            context,
            line: Line::new(),
            is_halted: false,
            waiting: VecDeque::new(),
        }
    }

    /// True from a refusal on until everything came back.
    pub(super) fn is_halted(&self) -> bool {
        self.is_halted
    }

    /// Puts a delivery behind the others. Waits while the store has no place for it, not for the disk.
    pub(super) async fn hand_over(&mut self, mut delivery: Delivery, receipt: R) {
        let answer = self.answer(&mut delivery).await;
        self.waiting.push_back(Waiting {
            receipt,
            delivery,
            answer,
        });
    }

    async fn answer(&mut self, delivery: &mut Delivery) -> Option<Keeping<'a>> {
        if self.is_halted {
            return None;
        }
        if delivery.is_empty() {
            return Some(Box::pin(ready(Ok(Vec::new()))));
        }
        delivery.line = Some(self.line.clone());
        let handed = self.context.hand_over(delivery).await;
        self.is_halted = handed.is_err();
        handed.ok()
    }

    /// Waits until it is known what came of the first delivery, and gives it away; `None` if there is
    /// none. Nothing is lost if it is given up waiting.
    pub(super) async fn settled(&mut self) -> Option<Settled<R>> {
        let is_kept = match &mut self.waiting.front_mut()?.answer {
            Some(answer) => answer.await.is_ok(),
            None => false,
        };
        let first = self.waiting.pop_front()?;
        self.is_halted |= !is_kept;
        if self.is_halted && self.waiting.is_empty() {
            self.line = Line::new();
            self.is_halted = false;
        }
        Some(Settled {
            receipt: first.receipt,
            back: (!is_kept).then_some(first.delivery),
        })
    }

    /// Forgets what is underway: nobody will see to what comes back.
    pub(super) fn give_up(&mut self) {
        self.is_halted = true;
        self.waiting.clear();
    }
}
