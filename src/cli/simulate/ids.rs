//! The ids of a run. An id is computed from the run and the event's number, and holds the number, so that no table
//! of ids is needed.

use std::hash::{Hash, Hasher};

use clap::ValueEnum;
use siphasher::sip::SipHasher13;
use uuid::{Builder, Uuid};

/// The kind of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum IdKind {
    /// Random: neighbours are far apart in an index
    Uuid4,
    /// Beginning with a time: neighbours are close together
    Uuid7,
}

/// Milliseconds from 1970 to 2026. The times in the ids of `uuid7` begin within the year after.
const TIMES_BEGIN_MS: u64 = 1_767_225_600_000;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const IDS_PER_MILLISECOND: u64 = 10;

/// The ids of one run.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    kind: IdKind,
    key: u64,
}

impl Ids {
    /// The ids of the run with this identity. Other runs have other ids.
    pub fn new(kind: IdKind, run: &impl Hash) -> Self {
        let mut hasher = SipHasher13::new();
        (kind, run).hash(&mut hasher);
        Self { kind, key: hasher.finish() }
    }

    /// The id of the event with this number.
    pub fn id(&self, number: u32) -> Uuid {
        // Different numbers have different last bytes, so all ids of a run are different.
        let last = self.key ^ u64::from(number);
        let bytes = *Uuid::from_u64_pair(self.noise(0, number), last).as_bytes();
        let builder = match self.kind {
            IdKind::Uuid4 => Builder::from_random_bytes(bytes),
            IdKind::Uuid7 => {
                let ms = TIMES_BEGIN_MS + self.key % YEAR_MS + u64::from(number) / IDS_PER_MILLISECOND;
                let [_, _, _, _, _, _, random @ ..] = bytes;
                Builder::from_unix_timestamp_millis(ms, &random)
            }
        };
        builder.into_uuid()
    }

    /// The number of the event with this id, if the id belongs to this run.
    pub fn number(&self, id: &str) -> Option<u32> {
        let (_, last) = Uuid::try_parse(id).ok()?.as_u64_pair();
        let number = (last ^ self.key) as u32;
        (self.id(number).to_string() == id).then_some(number)
    }

    /// A number that looks random and is fixed by the run, the event's number, and `salt`: 0 is that of the ids.
    pub fn noise(&self, salt: u64, number: u32) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key, salt);
        hasher.write_u32(number);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_number() {
        for kind in [IdKind::Uuid4, IdKind::Uuid7] {
            let ids = Ids::new(kind, &("run", 7));
            let version = if kind == IdKind::Uuid4 { 4 } else { 7 };
            for number in (0..2_000).chain([u32::MAX]) {
                let id = ids.id(number);
                assert_eq!(id.get_version_num(), version);
                assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
                assert_eq!(ids.number(&id.to_string()), Some(number));
            }
        }
    }

    #[test]
    fn ids_of_others_are_not_known() {
        let ids = Ids::new(IdKind::Uuid4, &("run", 7));
        let others = Ids::new(IdKind::Uuid4, &("run", 8));
        assert_ne!(ids.id(0), others.id(0));
        for id in [others.id(0).to_string(), ids.id(0).to_string().to_uppercase(), "x".to_owned()] {
            assert_eq!(ids.number(&id), None, "{id}");
        }
    }

    #[test]
    fn ids_of_uuid7_are_in_order_of_their_times() {
        let ids = Ids::new(IdKind::Uuid7, &0);
        assert!(ids.id(0) < ids.id(10) && ids.id(10) < ids.id(1_000_000));
    }
}
