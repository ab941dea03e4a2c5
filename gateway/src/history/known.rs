//! What is known of the past, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::disk::Found;
use super::entry::{Event, EventKind, Pin, Record};
use super::{EVENTS_MAX, UNWRITTEN_MAX};
use crate::policy::KeptFile;

/// What is known now.
#[derive(Default)]
pub(super) struct Known {
    /// By number, the oldest first.
    pub(super) kept: Vec<Kept>,
    /// The oldest first.
    pub(super) events: VecDeque<Event>,
    /// The generation in force, or that was when the gateway ended.
    /// With the digest of its policy.
    pub(super) in_force: Option<(u64, String)>,
    pub(super) pin: Option<Pin>,
    /// The highest number there was.
    pub(super) highest: u64,
    /// Why nothing can be written, if that is so.
    pub(super) problem: Option<String>,
}

/// A policy that the gateway can go back to.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) record: Arc<Record>,
    /// Until they are on disk.
    pub(super) files: Option<Arc<[KeptFile]>>,
}

impl Known {
    /// Takes what the folder has.
    pub(super) fn read(&mut self, mut found: Found, max: usize) {
        let of_events = found.events.iter().filter_map(|event| event.kind.generation()).max();
        self.highest = of_events.unwrap_or(0);
        self.add(std::mem::take(&mut found.records), max);
        let surplus = found.events.len().saturating_sub(EVENTS_MAX);
        self.events = found.events.into_iter().skip(surplus).collect();
        if let Some(current) = found.current {
            self.highest = self.highest.max(current.generation);
            self.in_force = Some((current.generation, current.digest));
            self.pin = current.pin;
        }
    }

    /// Adds policies that are on disk.
    pub(super) fn add(&mut self, records: Vec<Record>, max: usize) {
        for record in records {
            self.highest = self.highest.max(record.generation);
            if self.kept.iter().all(|kept| kept.record.generation != record.generation) {
                self.kept.push(Kept { record: Arc::new(record), files: None });
            }
        }
        self.kept.sort_by_key(|kept| kept.record.generation);
        let surplus = self.kept.len().saturating_sub(max);
        self.kept.drain(..surplus);
    }

    /// Adds a policy; one that is the same as the newest takes its place.
    pub(super) fn keep(&mut self, new: Kept, max: usize) {
        self.kept.retain(|kept| kept.record.generation != new.record.generation);
        if self.kept.last().is_some_and(|newest| newest.record.digest == new.record.digest) {
            self.kept.pop();
        }
        self.kept.push(new);
        let surplus = self.kept.len().saturating_sub(max);
        self.kept.drain(..surplus);
        self.give_up_unwritten();
    }

    /// Policies that could not be written must not fill the memory instead; the newest is kept in any case.
    fn give_up_unwritten(&mut self) {
        let mut bytes = 0;
        let mut is_newest = true;
        let mut kept: Vec<Kept> = std::mem::take(&mut self.kept).into_iter().rev().collect();
        kept.retain(|kept| {
            let files = kept.files.iter().flat_map(|files| files.iter());
            bytes += files.map(|file| file.bytes.len()).sum::<usize>();
            std::mem::take(&mut is_newest) || kept.files.is_none() || bytes <= UNWRITTEN_MAX
        });
        kept.reverse();
        self.kept = kept;
    }

    /// The policy of a generation, which may be kept under another number: after a restart the same policy
    /// has a new one.
    pub(super) fn numbered(&self, number: u64) -> Option<Arc<Record>> {
        let by = |wanted: &dyn Fn(&Record) -> bool| {
            self.kept.iter().rev().map(|kept| &kept.record).find(|record| wanted(record)).cloned()
        };
        by(&|record| record.generation == number).or_else(|| {
            let mut digests = self.events.iter().rev().filter_map(|event| event.kind.digest_of(number));
            let in_force = self.in_force.as_ref().filter(|(generation, _)| *generation == number);
            let digest = in_force.map(|(_, digest)| &**digest).or_else(|| digests.next())?;
            by(&|record| record.digest == digest)
        })
    }

    /// The policy in force.
    pub(super) fn current(&self) -> Option<Arc<Record>> {
        self.in_force.as_ref().and_then(|(number, _)| self.numbered(*number))
    }

    /// The policy before the one in force, as in an editor's undo: what was gone back from is not among them.
    pub(super) fn before(&self) -> Option<Arc<Record>> {
        let current = self.current()?;
        let line = self.line();
        let newest_first = || self.kept.iter().rev().map(|kept| &kept.record);
        let earlier = line.iter().rposition(|digest| *digest == current.digest).map(|at| &line[..at]);
        let kept = |digest: &&str| newest_first().find(|record| record.digest == *digest);
        if let Some(record) = earlier.and_then(|earlier| earlier.iter().rev().find_map(kept)) {
            return Some(Arc::clone(record));
        }
        // The events of that time are gone: what is older by its number.
        let is_gone_back_from = |record: &Record| self.has_event_of(&record.digest);
        newest_first()
            .find(|record| record.generation < current.generation && !is_gone_back_from(record))
            .cloned()
    }

    /// The digests of what was in force, the one in force last, without what was gone back from.
    fn line(&self) -> Vec<&str> {
        let mut line: Vec<&str> = Vec::new();
        for event in &self.events {
            let Some((_, digest)) = event.kind.brought() else { continue };
            let is_back = !matches!(event.kind, EventKind::Applied { .. });
            match line.iter().rposition(|known| *known == digest) {
                // Also faster code of the same policy, or another start with it.
                Some(at) if is_back || at + 1 == line.len() => line.truncate(at + 1),
                _ => line.push(digest),
            }
        }
        line
    }

    fn has_event_of(&self, wanted: &str) -> bool {
        self.events.iter().any(|event| event.kind.brought().is_some_and(|(_, digest)| digest == wanted))
    }
}
