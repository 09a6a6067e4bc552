//! When an event happened, as its producer says.

use std::fmt;

use time::{Date, Month, OffsetDateTime};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const UNIX_EPOCH_JULIAN_DAY: i64 = 2_440_588;
/// 0001-01-01T00:00:00Z in microseconds since the Unix epoch.
const EARLIEST_MICROS: i64 = -62_135_596_800 * MICROS_PER_SECOND;
/// 9999-12-31T23:59:59.999999Z in microseconds since the Unix epoch.
const LATEST_MICROS: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

/// A moment in UTC with a resolution of one microsecond, between the years 1 and 9999.
///
/// It is shown as `YYYY-MM-DDThh:mm:ss[.ffffff]Z`: no fraction where it is zero, else six digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    unix_micros: i64,
}

/// Why a text is no [`Timestamp`]; shown as the sentence that a producer gets to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampFault {
    #[error(
        "must look like 2026-06-18T12:00:00.123456Z: date, T or one space, time, and Z, an offset like +07:00 or nothing for UTC"
    )]
    Format,
    #[error("names a date that does not exist")]
    NoSuchDate,
    #[error("names a time of day or an offset that does not exist (leap seconds are not accepted)")]
    NoSuchTime,
    #[error("lies outside the years 1 to 9999 in UTC")]
    OutOfRange,
}

impl Timestamp {
    /// Reads `YYYY-MM-DD`, then `T`, `t` or one space, `hh:mm:ss[.digits]`, then `Z`, `z`, `±hh:mm` or
    /// nothing (UTC). Digits beyond the sixth are cut, not rounded.
    pub fn parse(text: &str) -> Result<Self, TimestampFault> {
        let mut rest = Reader(text.as_bytes());
        let year = rest.digits(4)?;
        rest.one_of(b"-")?;
        let month = rest.digits(2)?;
        rest.one_of(b"-")?;
        let day = rest.digits(2)?;
        rest.one_of(b"Tt ")?;
        let hour = rest.digits(2)?;
        rest.one_of(b":")?;
        let minute = rest.digits(2)?;
        rest.one_of(b":")?;
        let second = rest.digits(2)?;
        let micros = rest.fraction_micros()?;
        let offset_seconds = rest.offset_seconds()?;

        let date = Month::try_from(month as u8)
            .and_then(|month| Date::from_calendar_date(year as i32, month, day as u8))
            .map_err(|_| TimestampFault::NoSuchDate)?;
        if hour > 23 || minute > 59 || second > 59 {
            return Err(TimestampFault::NoSuchTime);
        }
        let days = i64::from(date.to_julian_day()) - UNIX_EPOCH_JULIAN_DAY;
        let seconds = days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - offset_seconds;
        Self::from_unix_micros(seconds * MICROS_PER_SECOND + micros)
    }

    /// The moment `unix_micros` microseconds after 1970-01-01T00:00:00Z.
    pub fn from_unix_micros(unix_micros: i64) -> Result<Self, TimestampFault> {
        if (EARLIEST_MICROS..=LATEST_MICROS).contains(&unix_micros) {
            Ok(Self { unix_micros })
        } else {
            Err(TimestampFault::OutOfRange)
        }
    }

    /// This machine's time.
    pub fn now() -> Self {
        let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        let unix_micros = i64::try_from(micros).unwrap_or(LATEST_MICROS);
        Self { unix_micros: unix_micros.clamp(EARLIEST_MICROS, LATEST_MICROS) }
    }

    /// Microseconds since 1970-01-01T00:00:00Z, negative before it.
    pub fn unix_micros(self) -> i64 {
        self.unix_micros
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(timestamp: Timestamp) -> Self {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp.unix_micros) * 1_000)
            .expect("the years 1 to 9999 lie within what OffsetDateTime holds")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from(*self);
        let (hour, minute, second, micros) = moment.time().as_hms_micro();
        let (year, month, day) = moment.date().to_calendar_date();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        f.write_str("Z")
    }
}

/// What is left to read of a timestamp's text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn digits(&mut self, count: usize) -> Result<i64, TimestampFault> {
        let (digits, rest) = self.0.split_at_checked(count).ok_or(TimestampFault::Format)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, byte| match byte {
            b'0'..=b'9' => Ok(number * 10 + i64::from(byte - b'0')),
            _ => Err(TimestampFault::Format),
        })
    }

    fn one_of(&mut self, allowed: &[u8]) -> Result<u8, TimestampFault> {
        let (first, rest) = self.0.split_first().ok_or(TimestampFault::Format)?;
        self.0 = rest;
        if allowed.contains(first) { Ok(*first) } else { Err(TimestampFault::Format) }
    }

    fn fraction_micros(&mut self) -> Result<i64, TimestampFault> {
        let Some(rest) = self.0.strip_prefix(b".") else { return Ok(0) };
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return Err(TimestampFault::Format);
        }
        let (digits, rest) = rest.split_at(length);
        self.0 = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
        Ok(padded.take(6).fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0')))
    }

    fn offset_seconds(&mut self) -> Result<i64, TimestampFault> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ if self.0.is_empty() => return Ok(0),
            _ => return Err(TimestampFault::Format),
        };
        let hours = self.digits(2)?;
        self.one_of(b":")?;
        let minutes = self.digits(2)?;
        if !self.0.is_empty() {
            return Err(TimestampFault::Format);
        }
        if hours > 23 || minutes > 59 {
            return Err(TimestampFault::NoSuchTime);
        }
        Ok(sign * (hours * 3_600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Timestamp::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}")).to_string()
    }

    #[test]
    fn every_accepted_form_is_answered_in_one_form() {
        for (given, answered) in [
            ("2026-06-18T12:00:00Z", "2026-06-18T12:00:00Z"),
            ("2026-06-18t12:00:00z", "2026-06-18T12:00:00Z"),
            ("2026-06-18 12:00:00", "2026-06-18T12:00:00Z"),
            ("2026-06-18T12:00:00.123456", "2026-06-18T12:00:00.123456Z"),
            ("2026-06-18T12:00:00.5+07:00", "2026-06-18T05:00:00.500000Z"),
            ("2026-06-18T12:00:00.1234569-00:30", "2026-06-18T12:30:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(shown(given), answered, "{given}");
        }
    }

    #[test]
    fn what_is_no_real_moment_is_refused_with_its_reason() {
        use TimestampFault::*;
        for (given, fault) in [
            ("", Format),
            ("2026-06-18", Format),
            ("2026-06-18T12:00", Format),
            ("2026-06-18  12:00:00", Format),
            ("2026-06-18T12:00:00.", Format),
            ("2026-06-18T12:00:00.1x", Format),
            ("2026-06-18T12:00:00ZZ", Format),
            ("2026-06-18T12:00:00+0700", Format),
            ("2026-06-18T12:00:00+07", Format),
            (" 2026-06-18T12:00:00Z", Format),
            ("26-06-18T12:00:00Z", Format),
            ("+026-06-18T12:00:00Z", Format),
            ("２026-06-18T12:00:00Z", Format),
            ("2026-02-29T12:00:00Z", NoSuchDate),
            ("2026-13-01T12:00:00Z", NoSuchDate),
            ("2026-00-10T12:00:00Z", NoSuchDate),
            ("2026-06-18T24:00:00Z", NoSuchTime),
            ("2026-06-30T23:59:60Z", NoSuchTime),
            ("2026-06-18T12:00:00+24:00", NoSuchTime),
            ("0001-01-01T00:00:00+00:01", OutOfRange),
            ("9999-12-31T23:59:59-00:01", OutOfRange),
        ] {
            assert_eq!(Timestamp::parse(given), Err(fault), "{given}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_moment(micros in EARLIEST_MICROS..=LATEST_MICROS) {
            let moment = Timestamp::from_unix_micros(micros).unwrap();
            prop_assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
