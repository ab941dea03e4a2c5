//! Notices of queues on their way to the filter that reads them.
//!
//! A guest on any worker puts an item into a queue and leaves a notice here; a task of the reader's
//! worker takes the notices and calls the guest, between its other work. Notices of one queue are
//! joined, so an inbox holds each queue once at most.

use std::rc::Weak;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tollgate_proxy_wasm::{QueueId, QueueReader};

use super::plugin::{Delivery, Plugin};

/// How long a filter that rests after failures is left alone.
const REST: Duration = Duration::from_millis(100);

/// What waits to be told to one filter on one worker.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queues: Mutex<Vec<QueueId>>,
    arrived: Notify,
}

impl QueueReader for Inbox {
    fn notify(&self, queue: QueueId) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains(&queue) {
            queues.push(queue);
        }
        self.arrived.notify_one();
    }
}

impl Inbox {
    /// Waits for notices and takes them.
    async fn take(&self) -> Vec<QueueId> {
        loop {
            let queues = std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner));
            if !queues.is_empty() {
                return queues;
            }
            self.arrived.notified().await;
        }
    }
}

/// Tells the filter what arrives in its inbox, as long as it lives.
pub(super) async fn deliver(plugin: Weak<Plugin>, inbox: Arc<Inbox>) {
    loop {
        let mut is_resting = false;
        for queue in inbox.take().await {
            let Some(plugin) = plugin.upgrade() else { return };
            match plugin.queue_ready(queue) {
                Delivery::Done => {}
                Delivery::Again => inbox.notify(queue),
                Delivery::Resting => {
                    inbox.notify(queue);
                    is_resting = true;
                }
            }
        }
        match is_resting {
            true => tokio::time::sleep(REST).await,
            false => tokio::task::yield_now().await,
        }
    }
}
