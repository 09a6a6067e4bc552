//! The ids of a run: computed from its name and the event's number, and back, so that no table of them is needed.

use std::hash::{Hash, Hasher};

use clap::ValueEnum;
use siphasher::sip::SipHasher13;
use uuid::Uuid;

/// How ids look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum IdKind {
    /// Random all over: the hardest on an index
    Uuid4,
    /// Beginning with a time: neighbours lie together
    Uuid7,
}

const HALF_BITS: u32 = 31;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const LOW_MASK: u128 = (1 << (2 * HALF_BITS)) - 1;
/// Of a UUID's 128 bits, the two in front of the low 62: the variant of RFC 9562.
const VARIANT: u128 = 0b10 << 62;
/// Milliseconds from 1970 to 2026, where the times in the ids of uuid7 begin.
const TIMES_BEGIN_MS: u64 = 1_767_225_600_000;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const IDS_A_MILLISECOND: u64 = 10;

/// All ids of one run.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    kind: IdKind,
    key: [u64; 2],
}

impl Ids {
    /// Another `of` gives other ids, the same one the same.
    pub fn new(kind: IdKind, of: &impl Hash) -> Self {
        let key = [1, 2].map(|number: u64| {
            let mut hasher = SipHasher13::new_with_keys(number, 0);
            kind.hash(&mut hasher);
            of.hash(&mut hasher);
            hasher.finish()
        });
        Self { kind, key }
    }

    /// The id of the event with this number.
    pub fn id(&self, number: u32) -> Uuid {
        let number = u64::from(number);
        let noise = u128::from(mixed(self.key[1] ^ number));
        // A number and its id's low bits belong to each other one to one: no two ids are the same.
        let low = u128::from(self.scramble(number)) | VARIANT;
        let high = match self.kind {
            IdKind::Uuid4 => (noise >> 16) << 16 | 4 << 12 | noise & 0xfff,
            IdKind::Uuid7 => {
                let begin = TIMES_BEGIN_MS + self.key[0] % YEAR_MS;
                u128::from(begin + number / IDS_A_MILLISECOND) << 16 | 7 << 12 | noise & 0xfff
            }
        };
        Uuid::from_u128(high << 64 | low)
    }

    /// The number whose id this is, if it is one of this run.
    pub fn number(&self, id: &str) -> Option<u32> {
        let uuid = Uuid::try_parse(id).ok()?;
        let number = u32::try_from(self.unscramble((uuid.as_u128() & LOW_MASK) as u64)).ok()?;
        let expected = self.id(number);
        let mut text = Uuid::encode_buffer();
        (*expected.hyphenated().encode_lower(&mut text) == *id).then_some(number)
    }

    /// Noise that belongs to a number, for whatever else has to differ from event to event.
    pub fn noise(&self, number: u32) -> u64 {
        mixed(self.key[0] ^ self.key[1].rotate_left(32) ^ u64::from(number))
    }

    /// A Feistel network over 62 bits.
    fn scramble(&self, number: u64) -> u64 {
        let (mut left, mut right) = (number >> HALF_BITS, number & HALF_MASK);
        for round in 0..4 {
            (left, right) = (right, left ^ self.round(round, right));
        }
        left << HALF_BITS | right
    }

    fn unscramble(&self, scrambled: u64) -> u64 {
        let (mut left, mut right) = (scrambled >> HALF_BITS, scrambled & HALF_MASK);
        for round in (0..4).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        left << HALF_BITS | right
    }

    fn round(&self, round: u64, half: u64) -> u64 {
        mixed(self.key[0] ^ round << 60 ^ half) & HALF_MASK
    }
}

/// A stream of numbers that looks random and is fixed by its seed: SplitMix64, public domain.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mixed(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `end`, which is above zero.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
