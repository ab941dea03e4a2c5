//! The thread that writes.
//!
//! Jobs only say that there is something to do: what to write is what is known then. So a burst of swaps is
//! written once, and what could not be written is written with what comes next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::disk::{Current, Disk, DiskError, GatewayNote};
use super::entry::{Event, Record};
use super::known::Kept;
use super::{EVENTS_MAX, Shared};

/// What could not be written is tried again this often.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// Something to write.
pub(super) enum Job {
    /// What is known has changed.
    Save,
    /// Something happened.
    Event(Event),
    /// Where the admin API is.
    Note(GatewayNote),
}

/// What the thread owns.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// Not written yet.
    events: VecDeque<Event>,
    note: Option<GatewayNote>,
    /// Whether what is known may differ from what is on disk.
    is_stale: bool,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, events: VecDeque::new(), note: None, is_stale: false }
    }

    /// Writes until there is nobody left to ask for it.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(RETRY_EVERY) {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            self.write();
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Save => self.is_stale = true,
            Job::Event(event) => {
                self.events.push_back(event);
                while self.events.len() > EVENTS_MAX {
                    self.events.pop_front();
                }
            }
            Job::Note(note) => self.note = Some(note),
        }
    }

    fn write(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(disk) = &shared.disk else {
            self.events.clear();
            return;
        };
        if !self.is_stale && self.events.is_empty() && self.note.is_none() {
            return;
        }
        match self.try_write(disk) {
            Ok(()) => self.tell(None),
            Err(error) => {
                shared.metrics.control().history_failures.inc();
                self.tell(Some(error.to_string()));
            }
        }
    }

    /// In this order, so that a crash in between leaves a generation in force that can be read.
    fn try_write(&mut self, disk: &Disk) -> Result<(), DiskError> {
        if disk.take()? {
            // What another gateway has kept meanwhile must not be lost.
            let found = disk.read();
            self.shared.known().add(found.records, self.shared.keep);
        }
        if self.is_stale {
            match self.write_policies(disk) {
                Err(error) if error.is_full() => {
                    disk.make_room(&self.kept())?;
                    self.write_policies(disk)?;
                }
                written => written?,
            }
            self.is_stale = false;
        }
        if !self.events.is_empty() {
            disk.append_events(self.events.make_contiguous())?;
            self.events.clear();
        }
        if let Some(note) = &self.note {
            disk.write_note(note)?;
            self.note = None;
        }
        Ok(())
    }

    fn write_policies(&self, disk: &Disk) -> Result<(), DiskError> {
        let (unwritten, current): (Vec<Kept>, _) = {
            let known = self.shared.known();
            let unwritten = known.kept.iter().filter(|kept| kept.files.is_some()).cloned();
            let current = known.in_force.clone().map(|(generation, digest)| {
                let pin = known.pin.clone();
                Current { generation, digest, pin }
            });
            (unwritten.collect(), current)
        };
        for Kept { record, files } in unwritten {
            disk.write_policy(&record, &files.unwrap_or_default())?;
            let mut known = self.shared.known();
            let written = known.kept.iter_mut().find(|kept| Arc::ptr_eq(&kept.record, &record));
            let freed = written.and_then(|kept| kept.files.take());
            drop(known);
            drop(freed);
        }
        if let Some(current) = current {
            disk.write_current(&current)?;
        }
        disk.prune(&self.kept())
    }

    fn kept(&self) -> Vec<Arc<Record>> {
        self.shared.known().kept.iter().map(|kept| Arc::clone(&kept.record)).collect()
    }

    /// Logs a change between good and bad once; what exactly is bad may change meanwhile.
    fn tell(&self, problem: Option<String>) {
        let mut known = self.shared.known();
        match (&known.problem, &problem) {
            (None, Some(reason)) => {
                tracing::warn!(reason, "the history of the policy cannot be kept on disk")
            }
            (Some(_), None) => tracing::info!("the history of the policy is kept on disk again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        known.problem = problem;
    }
}
