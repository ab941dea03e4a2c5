//! Dates of the Gregorian calendar, in UTC.

/// A moment, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
    /// 1 to 31.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    /// 1 for Sunday, as in Lua's `os.date`.
    pub(crate) weekday: i64,
}

/// Seconds since 1970 that are looked at: the years 1 to 9999.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Moment {
    /// The moment so many seconds after the beginning of 1970, in the years 1 to 9999.
    pub(crate) fn at(seconds: i64) -> Option<Self> {
        if !RANGE.contains(&seconds) {
            return None;
        }
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days from 1 March of the year 0: leap days end a year that begins so.
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let is_next_year = i64::from(month >= 10);
        Some(Self {
            year: era * 400 + year_of_era + is_next_year,
            month: if month < 10 { month + 3 } else { month - 9 },
            day: day_of_year - (153 * month + 2) / 5 + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            // 1 March of the year 0 was a Wednesday.
            weekday: (days + 3).rem_euclid(7) + 1,
        })
    }

    /// As RFC 3339 writes it.
    pub(crate) fn text(&self) -> String {
        let Self { year, month, day, hour, minute, second, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let cases = [
            (0, "1970-01-01T00:00:00Z", 5),
            (951_782_399, "2000-02-28T23:59:59Z", 2),
            (951_782_400, "2000-02-29T00:00:00Z", 3),
            (1_709_251_199, "2024-02-29T23:59:59Z", 5),
            (4_107_542_400, "2100-03-01T00:00:00Z", 2),
            (-1, "1969-12-31T23:59:59Z", 4),
            (*RANGE.start(), "0001-01-01T00:00:00Z", 2),
            (*RANGE.end(), "9999-12-31T23:59:59Z", 6),
        ];
        for (seconds, text, weekday) in cases {
            let moment = Moment::at(seconds).unwrap();
            assert_eq!((moment.text().as_str(), moment.weekday), (text, weekday));
        }
        assert_eq!(Moment::at(i64::MAX), None);
    }
}
