//! What a policy in shadow would have done with the requests that another serves.
//!
//! Workers add to a [`ShadowLedger`] what they find; control shows it. Of requests on which the policies
//! differ the last [`SAMPLES_MAX`] are kept, and [`LINES_PER_SECOND`] are logged: method, path and what each
//! policy decided; no query, no field, no body.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Timestamp;
use super::metrics::Counter;

/// Requests that are kept.
const SAMPLES_MAX: usize = 100;
const LINES_PER_SECOND: u32 = 10;

/// What a policy decides on a request before its upstream is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The route, if one takes the request.
    pub route: Option<Arc<str>>,
    /// What becomes of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// Every filter let it pass.
    Allowed,
    /// It was answered, or its stream closed.
    Denied {
        /// By which filter; none: by the gateway or its route.
        #[serde(skip_serializing_if = "Option::is_none")]
        filter: Option<Arc<str>>,
        /// With what.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// A filter failed closed.
    Failed {
        /// Which.
        filter: Arc<str>,
    },
    /// Nothing before the body. In shadow: a filter waited for something that did not come in time, such as a
    /// body, of which a shadow sees none. In force: the body decided.
    Undecided,
}

/// How two decisions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// They are the same, as far as the client is concerned.
    Agree,
    /// The policy in force allows what the other denies.
    WouldDeny,
    /// The policy in force denies what the other allows.
    WouldAllow,
    /// Another route takes it.
    OtherRoute,
    /// A filter of the policy in shadow failed.
    Failed,
    /// The policy in shadow did not decide in time, or that in force denied because of the body.
    Undecided,
    /// It was not asked: too many requests were with it.
    Skipped,
}

impl Finding {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Agree,
        Self::WouldDeny,
        Self::WouldAllow,
        Self::OtherRoute,
        Self::Failed,
        Self::Undecided,
        Self::Skipped,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::WouldDeny => "would_deny",
            Self::WouldAllow => "would_allow",
            Self::OtherRoute => "other_route",
            Self::Failed => "failed",
            Self::Undecided => "undecided",
            Self::Skipped => "skipped",
        }
    }

    /// How what the policy in shadow decides compares with what the one in force did.
    pub fn of(live: &Decision, shadow: &Decision) -> Self {
        let is_allowed = |decision: &Decision| decision.fate == Fate::Allowed;
        match &shadow.fate {
            Fate::Failed { .. } => Self::Failed,
            Fate::Undecided => Self::Undecided,
            Fate::Allowed | Fate::Denied { .. } if live.fate == Fate::Undecided => Self::Undecided,
            Fate::Denied { .. } if is_allowed(live) => Self::WouldDeny,
            Fate::Allowed if !is_allowed(live) => Self::WouldAllow,
            Fate::Allowed | Fate::Denied { .. } if live.route != shadow.route => Self::OtherRoute,
            Fate::Allowed | Fate::Denied { .. } => Self::Agree,
        }
    }
}

/// A request on which the policies differ.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// When it ended.
    pub at: Timestamp,
    /// As the access log names it.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its path without the query.
    pub path: String,
    /// How the decisions compare.
    pub finding: Finding,
    /// What the policy in force did.
    pub live: Decision,
    /// What the policy in shadow would have done.
    pub shadow: Decision,
}

/// What was found so far. Shared by all workers and control.
#[derive(Debug, Default)]
pub struct ShadowLedger {
    counts: [Counter; Finding::ALL.len()],
    /// Held for one push, never across an await; taken for requests on which the policies differ only.
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    kept: VecDeque<Sample>,
    /// The second that lines are counted in, and how many there were.
    second: Option<(Instant, u32)>,
}

impl ShadowLedger {
    /// Counts a request; `sample` describes it if the policies differ.
    pub fn count(&self, finding: Finding, sample: impl FnOnce() -> Sample) {
        self.counts[finding as usize].inc();
        if matches!(finding, Finding::Agree | Finding::Skipped) {
            return;
        }
        let sample = sample();
        let is_logged = {
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            if samples.kept.len() == SAMPLES_MAX {
                samples.kept.pop_front();
            }
            samples.kept.push_back(sample.clone());
            samples.may_log(Instant::now())
        };
        if is_logged {
            log(&sample);
        }
    }

    /// A request was not shown to the policy in shadow.
    pub fn skip(&self) {
        self.counts[Finding::Skipped as usize].inc();
    }

    /// How many requests were found to be so.
    pub fn counted(&self, finding: Finding) -> u64 {
        self.counts[finding as usize].get()
    }

    /// The last requests on which the policies differ, the newest last.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().cloned().collect()
    }
}

impl Samples {
    fn may_log(&mut self, now: Instant) -> bool {
        let (since, lines) = match self.second {
            Some((since, lines)) if now.saturating_duration_since(since) < Duration::from_secs(1) => {
                (since, lines)
            }
            _ => (now, 0),
        };
        self.second = Some((since, lines.saturating_add(1)));
        lines < LINES_PER_SECOND
    }
}

fn log(sample: &Sample) {
    tracing::info!(
        finding = sample.finding.as_str(),
        request_id = sample.request_id,
        method = sample.method,
        path = sample.path,
        live_route = sample.live.route.as_deref(),
        live = ?sample.live.fate,
        shadow_route = sample.shadow.route.as_deref(),
        shadow = ?sample.shadow.fate,
        "a policy in shadow decides otherwise"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(route: &str, fate: Fate) -> Decision {
        Decision { route: Some(route.into()), fate }
    }

    fn denied() -> Fate {
        Fate::Denied { filter: None, status: Some(403) }
    }

    #[test]
    fn decisions_are_compared_by_what_the_client_notices() {
        let of = |live: (&str, Fate), shadow: (&str, Fate)| {
            Finding::of(&decision(live.0, live.1), &decision(shadow.0, shadow.1))
        };
        assert_eq!(of(("a", Fate::Allowed), ("a", Fate::Allowed)), Finding::Agree);
        assert_eq!(of(("a", Fate::Allowed), ("b", Fate::Allowed)), Finding::OtherRoute);
        assert_eq!(of(("a", Fate::Allowed), ("b", denied())), Finding::WouldDeny);
        assert_eq!(of(("a", denied()), ("a", Fate::Allowed)), Finding::WouldAllow);
        assert_eq!(of(("a", denied()), ("a", denied())), Finding::Agree);
        assert_eq!(of(("a", denied()), ("a", Fate::Undecided)), Finding::Undecided);
        assert_eq!(of(("a", denied()), ("a", Fate::Failed { filter: "f".into() })), Finding::Failed);
        for shadow in [Fate::Allowed, denied()] {
            assert_eq!(of(("a", Fate::Undecided), ("a", shadow)), Finding::Undecided);
        }
        // A filter that failed closed in the policy in force denied the request.
        assert_eq!(of(("a", Fate::Failed { filter: "f".into() }), ("a", Fate::Allowed)), Finding::WouldAllow);
    }

    #[test]
    fn samples_and_lines_are_bounded() {
        let ledger = ShadowLedger::default();
        let sample = |number: usize| Sample {
            at: Timestamp(std::time::UNIX_EPOCH),
            request_id: number.to_string(),
            method: "GET".into(),
            path: "/".into(),
            finding: Finding::WouldDeny,
            live: decision("a", Fate::Allowed),
            shadow: decision("a", denied()),
        };
        (0..SAMPLES_MAX + 5).for_each(|number| ledger.count(Finding::WouldDeny, || sample(number)));
        ledger.count(Finding::Agree, || unreachable!("nothing to describe"));
        let kept = ledger.samples();
        assert_eq!((kept.len(), kept[0].request_id.as_str()), (SAMPLES_MAX, "5"));
        assert_eq!((ledger.counted(Finding::WouldDeny), ledger.counted(Finding::Agree)), (105, 1));
        let (mut samples, now) = (Samples::default(), Instant::now());
        let lines = (0..20).filter(|_| samples.may_log(now)).count();
        assert_eq!(lines, LINES_PER_SECOND as usize);
        assert!(samples.may_log(now + Duration::from_secs(1)));
    }
}
