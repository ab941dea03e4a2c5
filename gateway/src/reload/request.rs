//! What asks for a reload, and how it is gathered.

use tokio::sync::{mpsc, oneshot};

use super::optimise::Recompiled;
use super::watch::FilesChanged;
use crate::admin::{
    NotShadowed, NotSteered, ReloadOutcome, RolloutOrder, ShadowOrder, ShadowReport, Trigger,
};

/// Requests that wait while a swap runs.
pub(super) const WAITING_MAX: usize = 64;

/// Someone asks for the policy to be read again.
#[derive(Debug)]
pub enum Asked {
    /// SIGHUP.
    Signal,
    /// `POST /policy/reload`, which wants to know how it ends.
    Admin(oneshot::Sender<ReloadOutcome>),
    /// `POST /policy/rollback`, likewise.
    RollBack {
        /// The generation; `None`: the one before.
        to: Option<u64>,
        /// Who wants to know.
        waiting: oneshot::Sender<ReloadOutcome>,
    },
    /// `POST /policy/rollout/…`.
    Rollout(RolloutOrder, Steered),
    /// `/policy/shadow`.
    Shadow(ShadowOrder, Shadowed),
}

/// Where it is told how an order ended.
pub(super) type Steered = oneshot::Sender<Result<(), NotSteered>>;

/// Where it is told how a shadow fared.
pub(super) type Shadowed = oneshot::Sender<Result<ShadowReport, NotShadowed>>;

/// All that was asked since the last attempt began: one attempt answers it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Why to read the policy again, if that was asked.
    pub(super) reread: Option<Trigger>,
    /// Who wants to know.
    pub(super) waiting: Vec<oneshot::Sender<ReloadOutcome>>,
    /// Where to go back to, one after the other, and who wants to know.
    pub(super) roll_backs: Vec<(Option<u64>, oneshot::Sender<ReloadOutcome>)>,
    /// What was asked of a rollout. It comes before all else.
    pub(super) orders: Vec<(RolloutOrder, Steered)>,
    /// Policies to be taken into shadow, in order.
    pub(super) shadows: Vec<(ShadowOrder, Shadowed)>,
    /// Whether faster code is there.
    pub(super) recompiled: bool,
}

/// Where requests arrive.
#[derive(Debug)]
pub(super) struct Inbox {
    asked: mpsc::Receiver<Asked>,
    changed: mpsc::Receiver<FilesChanged>,
    recompiled: mpsc::Receiver<Recompiled>,
}

impl Inbox {
    pub(super) fn new(
        asked: mpsc::Receiver<Asked>,
        changed: mpsc::Receiver<FilesChanged>,
        recompiled: mpsc::Receiver<Recompiled>,
    ) -> Self {
        Self { asked, changed, recompiled }
    }

    /// The next batch; `None` when nobody can ask any more. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        tokio::select! {
            Some(asked) = self.asked.recv() => batch.ask(asked),
            Some(FilesChanged) = self.changed.recv() => batch.read_again(Trigger::File),
            Some(Recompiled) = self.recompiled.recv() => batch.recompiled = true,
            else => return None,
        }
        self.gather(&mut batch);
        Some(batch)
    }

    /// Adds what has arrived without waiting.
    fn gather(&mut self, batch: &mut Batch) {
        while let Ok(asked) = self.asked.try_recv() {
            batch.ask(asked);
        }
        while let Ok(FilesChanged) = self.changed.try_recv() {
            batch.read_again(Trigger::File);
        }
        batch.recompiled |= self.recompiled.try_recv().is_ok();
    }
}

impl Batch {
    fn ask(&mut self, asked: Asked) {
        match asked {
            Asked::Signal => self.read_again(Trigger::Signal),
            Asked::Shadow(order, shadowed) => self.shadows.push((order, shadowed)),
            Asked::Rollout(order, steered) => self.orders.push((order, steered)),
            Asked::Admin(waiting) => {
                self.waiting.push(waiting);
                self.read_again(Trigger::Admin);
            }
            Asked::RollBack { to, waiting } => self.roll_backs.push((to, waiting)),
        }
    }

    /// What a person did counts for more than what a file did.
    fn read_again(&mut self, trigger: Trigger) {
        let is_weaker = matches!(
            (self.reread, trigger),
            (Some(Trigger::Admin), _) | (Some(Trigger::Signal), Trigger::File)
        );
        if !is_weaker {
            self.reread = Some(trigger);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Senders {
        asked: mpsc::Sender<Asked>,
        changed: mpsc::Sender<FilesChanged>,
        recompiled: mpsc::Sender<Recompiled>,
    }

    fn inbox() -> (Senders, Inbox) {
        let (asked, asked_here) = mpsc::channel(WAITING_MAX);
        let (changed, changed_here) = mpsc::channel(1);
        let (recompiled, recompiled_here) = mpsc::channel(1);
        (Senders { asked, changed, recompiled }, Inbox::new(asked_here, changed_here, recompiled_here))
    }

    #[tokio::test]
    async fn what_waits_is_one_batch() {
        let (senders, mut inbox) = inbox();
        senders.changed.try_send(FilesChanged).unwrap();
        senders.recompiled.try_send(Recompiled).unwrap();
        let (first, _first) = oneshot::channel();
        let (second, _second) = oneshot::channel();
        senders.asked.try_send(Asked::Admin(first)).unwrap();
        senders.asked.try_send(Asked::Signal).unwrap();
        senders.asked.try_send(Asked::Admin(second)).unwrap();
        let batch = inbox.next().await.unwrap();
        assert_eq!((batch.reread, batch.waiting.len(), batch.recompiled), (Some(Trigger::Admin), 2, true));
        drop(senders);
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn faster_code_alone_reads_nothing_again() {
        let (senders, mut inbox) = inbox();
        senders.recompiled.try_send(Recompiled).unwrap();
        let batch = inbox.next().await.unwrap();
        assert_eq!((batch.reread, batch.recompiled), (None, true));
        senders.changed.try_send(FilesChanged).unwrap();
        senders.asked.try_send(Asked::Signal).unwrap();
        let batch = inbox.next().await.unwrap();
        assert_eq!((batch.reread, batch.recompiled), (Some(Trigger::Signal), false));
    }
}
