//! How a policy comes into force in steps, and when it is taken back.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

/// How this policy takes the place of the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// In order; at least one, the shares grow, and the first is less than all. Default: 1 %, 10 % and
    /// 50 %, a minute each. After the last the policy is in force whole.
    pub steps: Vec<Step>,
    /// What decides which policy serves a request.
    pub key: RolloutKey,
    /// How far it may depart from the policy before it.
    pub margins: Margins,
    /// Requests that it must have served in a step before the next one. Default 100.
    pub minimum_requests: NonZeroU32,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How much of the traffic the new policy serves.
    pub share: Share,
    /// How long at least. Default 1 min.
    pub time: Duration,
}

/// A share or a rate, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

/// What requests must have in common to be served by the same policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutKey {
    /// The client's address after the trusted-proxy rule; IPv6 by its /64.
    ClientAddress,
    /// The first value of this header; requests without it go by the client's address.
    Header(HeaderName),
    /// The value of this cookie; requests without it go by the client's address.
    Cookie(Arc<str>),
}

/// How much worse than the old policy the new one may be; `None`: in this it is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// Requests answered by 5xx, or not to the end. Default 1 %.
    pub errors: Option<Share>,
    /// Requests in which a filter failed. Default 0.1 %.
    pub traps: Option<Share>,
    /// Requests refused by the gateway or its filters. Default 1 %.
    pub denials: Option<Share>,
    /// The 95th percentile of the time to the last byte of the answer. Default 50 ms.
    pub latency: Option<Duration>,
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(10_000);

    /// So many hundredths of a percent; `None` beyond all.
    #[must_use]
    pub const fn new(hundredths: u16) -> Option<Self> {
        if hundredths <= Self::ALL.0 { Some(Self(hundredths)) } else { None }
    }

    /// A percentage with at most two decimals: `12.5%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(decimals) || decimals.len() > 2 {
            return None;
        }
        let scale = if decimals.len() == 1 { 10 } else { 1 };
        let hundredths = whole.parse::<u16>().ok()?.checked_mul(100)?;
        Self::new(hundredths.checked_add(decimals.parse::<u16>().ok()? * scale)?)
    }

    /// In hundredths of a percent.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Between 0 and 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }
}

/// As it is written in a policy: `12.5%`.
impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_percentages_and_shows_them_back() {
        for (text, hundredths) in [("0%", 0), ("1%", 100), ("0.5%", 50), ("12.25 %", 1225), ("100%", 10_000)]
        {
            let share = Share::parse(text).unwrap();
            assert_eq!(share.hundredths(), hundredths, "{text}");
            assert_eq!(Share::parse(&share.to_string()), Some(share));
        }
        for text in ["", "%", "1", "-1%", "1.%", ".5%", "0.125%", "101%", "100.01%", "1e1%", "700%"] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }
}
