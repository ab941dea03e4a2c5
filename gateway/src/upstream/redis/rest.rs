//! The rest of a session whose connection did not come about: 100 ms, and twice as long after each further
//! failure, up to five seconds. Commands are answered meanwhile with what the last attempt came to.

use std::time::Duration;

use tokio::time::Instant;

use super::RedisError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Whether a session may connect.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<Failed>);

/// The last attempt failed.
#[derive(Debug)]
struct Failed {
    error: RedisError,
    pause: Duration,
    until: Instant,
}

impl Rest {
    /// An attempt failed.
    pub(super) fn begin(&mut self, error: RedisError, now: Instant) {
        let pause = self.0.as_ref().map_or(FIRST, |failed| (failed.pause * 2).min(LONGEST));
        self.0 = Some(Failed { error, pause, until: now + pause });
    }

    /// An attempt went well.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// What a command is answered, if the session rests.
    pub(super) fn refusal(&self, now: Instant) -> Option<RedisError> {
        self.0.as_ref().filter(|failed| now < failed.until).map(|failed| failed.error.again())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_makes_it_longer_up_to_a_bound() {
        let (mut rest, mut now) = (Rest::default(), Instant::now());
        assert!(rest.refusal(now).is_none());
        for pause in [100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis) {
            rest.begin(RedisError::Login, now);
            now += pause;
            let before = now.checked_sub(Duration::from_millis(1)).unwrap();
            assert!(matches!(rest.refusal(before), Some(RedisError::Login)), "{pause:?}");
            assert!(rest.refusal(now).is_none(), "{pause:?}");
        }
        rest.end();
        rest.begin(RedisError::Closed, now);
        assert!(rest.refusal(now + FIRST).is_none(), "from the beginning again");
    }
}
