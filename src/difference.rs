//! Difference: two lists of things that a run does, side by side.

use std::fmt;

use crate::gate::Question;
use crate::replay::show;

/// Comparisons of two things that one pair of lists may take; beyond that everything in the middle
/// counts as removed and added.
pub const COMPARED_PAIRS_MAX: usize = 4_000_000;

/// One thing that is otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Done now, and not before.
    Added(Question),
    /// Done before, and not now.
    Removed(Question),
    /// Done with other arguments: before and now.
    Changed(Question, Question),
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added(question) => write!(out, "+ {}", show(question)),
            Change::Removed(question) => write!(out, "- {}", show(question)),
            Change::Changed(before, now) => {
                write!(out, "~ {}\n  → {}", show(before), show(now))
            }
        }
    }
}

/// What is otherwise in `new`, in order.
pub fn changes(old: &[Question], new: &[Question]) -> Vec<Change> {
    compare(old, new, true)
}

/// The same where `new` breaks off, and nobody knows whether the rest would have been done.
pub fn changes_so_far(old: &[Question], new: &[Question]) -> Vec<Change> {
    compare(old, new, false)
}

fn compare(old: &[Question], new: &[Question], is_whole: bool) -> Vec<Change> {
    let ahead = old.iter().zip(new);
    let ahead = ahead.take_while(|(a, b)| a.is_same(b)).count();
    let (old, new) = (&old[ahead..], &new[ahead..]);
    let behind = old.iter().rev().zip(new.iter().rev());
    let behind = behind.take_while(|(a, b)| a.is_same(b)).count();
    let (old, new) = (&old[..old.len() - behind], &new[..new.len() - behind]);
    let mut found = Vec::new();
    let (mut from, mut to) = (0, 0);
    for (left, right) in common(old, new) {
        gap(&old[from..left], &new[to..right], &mut found);
        (from, to) = (left + 1, right + 1);
    }
    let known = found.len();
    gap(&old[from..], &new[to..], &mut found);
    if !is_whole && behind == 0 {
        let rest = found.split_off(known).into_iter();
        found.extend(rest.filter(|change| !matches!(change, Change::Removed(_))));
    }
    found
}

/// Between two things that are the same: what has the same word was changed.
fn gap(old: &[Question], new: &[Question], found: &mut Vec<Change>) {
    let mut left = new.to_vec();
    for before in old {
        match left.iter().position(|now| now.word == before.word) {
            Some(at) => {
                let mut skipped: Vec<Question> = left.drain(..=at).collect();
                let now = skipped.pop();
                found.extend(skipped.into_iter().map(Change::Added));
                found.extend(now.map(|now| Change::Changed(before.clone(), now)));
            }
            None => found.push(Change::Removed(before.clone())),
        }
    }
    found.extend(left.into_iter().map(Change::Added));
}

/// The places of the longest series that both have.
fn common(old: &[Question], new: &[Question]) -> Vec<(usize, usize)> {
    if old.len().saturating_mul(new.len()) > COMPARED_PAIRS_MAX {
        return Vec::new();
    }
    let width = new.len() + 1;
    let mut longest = vec![0u32; (old.len() + 1) * width];
    for left in (0..old.len()).rev() {
        for right in (0..new.len()).rev() {
            let at = left * width + right;
            longest[at] = match old[left].is_same(&new[right]) {
                true => longest[at + width + 1] + 1,
                false => longest[at + width].max(longest[at + 1]),
            };
        }
    }
    let (mut left, mut right, mut places) = (0, 0, Vec::new());
    while left < old.len() && right < new.len() {
        let at = left * width + right;
        if old[left].is_same(&new[right]) {
            places.push((left, right));
            (left, right) = (left + 1, right + 1);
        } else if longest[at + width] >= longest[at + 1] {
            left += 1;
        } else {
            right += 1;
        }
    }
    places
}
