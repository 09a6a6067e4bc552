//! What the protocol could be tempted to do, and the property that each mistake breaks.

use super::{Bounds, FAULTS, RESTORES, RESTORES_AND_FAULTS, TENANTS};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mistake {
    /// Shards learn a group's ids when it is formed.
    LearnBeforeCommit,
    /// Clients are answered when their group is formed.
    ReplyBeforeCommit,
    /// `received` is raised after the commit, by the writer.
    CountOutsideTheTransaction,
    /// A group's first new event commits by itself.
    CommitPartByPart,
    /// A shard calls an id stored that it has sent on to the writer.
    AnswerFromAnInFlightMark,
    /// A call whose answer was lost goes out again under a new number.
    RetryWithoutTheNumber,
    /// Shards learn a group's ids before the writer moves its position on to the commit.
    TeachBeforeMovingOn,
    /// Windows are keyed by the id alone.
    RememberIdsWithoutEpoch,
    /// The epoch follows from the ledger.
    OpenAgainInTheSameEpoch,
    /// A restored database begins no epoch.
    StartOverInTheSameEpoch,
    /// What a shard knew counts, whatever epoch it was asked for.
    TrustMarksOfAnyEpoch,
    /// The writer keeps its recent ids when a database is found to be restored.
    KeepRecentIdsOverARestore,
    /// The writer keeps its recent ids when the ledger was opened anew, with a position of its own.
    KeepRecentIdsOfAnotherOpening,
    /// The append does not look for the commit that its caller has seen.
    AppendWhateverWasSeen,
    /// The append looks for the number of that commit alone.
    KnowCommitsByNumberAlone,
    /// The append looks for the number of its ledger alone.
    KnowLedgersByNumberAlone,
    /// What meets a ledger that is gone is sent on to the one that its namespace has by now.
    SendOnToTheNextLedger,
    /// The unique key leaves the ledger's number out.
    ShareOneUniqueKey,
}

use Mistake::*;

/// Two requests are enough for most of what goes wrong with two ledgers.
const TWO_REQUESTS: Bounds = Bounds { sends: 2, ..TENANTS };
/// A crash and a restore.
const CRASH_AND_RESTORE: Bounds = Bounds { sends: 2, changes: 1, ..RESTORES_AND_FAULTS };

/// Each mistake, the search that finds it, and what it breaks.
pub const MISTAKES: [(Mistake, Bounds, &str); 19] = [
    (LearnBeforeCommit, FAULTS, "each commit tells the truth"),
    (ReplyBeforeCommit, FAULTS, "acknowledged means stored, just as the answer says"),
    (CountOutsideTheTransaction, FAULTS, "received = unique + duplicate"),
    (CommitPartByPart, FAULTS, "a request is stored whole or not at all"),
    (AnswerFromAnInFlightMark, FAULTS, "each commit tells the truth"),
    (RetryWithoutTheNumber, FAULTS, "each committed request is counted once"),
    (TeachBeforeMovingOn, CRASH_AND_RESTORE, "each commit tells the truth"),
    (RememberIdsWithoutEpoch, RESTORES, "each commit tells the truth"),
    (RememberIdsWithoutEpoch, TENANTS, "each commit tells the truth"),
    (OpenAgainInTheSameEpoch, RESTORES, "each commit tells the truth"),
    (StartOverInTheSameEpoch, RESTORES, "each commit tells the truth"),
    (TrustMarksOfAnyEpoch, RESTORES, "each commit tells the truth"),
    (KeepRecentIdsOverARestore, RESTORES, "each commit tells the truth"),
    (KeepRecentIdsOfAnotherOpening, TWO_REQUESTS, "each commit tells the truth"),
    (AppendWhateverWasSeen, RESTORES, "each commit tells the truth"),
    (KnowCommitsByNumberAlone, RESTORES, "each commit tells the truth"),
    (KnowLedgersByNumberAlone, TWO_REQUESTS, "a request is in no ledger but its own"),
    (SendOnToTheNextLedger, TWO_REQUESTS, "a request is in no ledger but its own"),
    (ShareOneUniqueKey, TENANTS, "each commit tells the truth"),
];

/// What the reading of streams could be tempted to do. Each breaks that readers get each event once and in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReaderMistake {
    /// A piece that was read before the database was found to be restored is handed on after it.
    ShareReadsOfAllEpochs,
    /// What is told while a read is under way is taken for known.
    DropNewsWhileReading,
    /// A reader whose log was restored stays at its place.
    StayInARestoredLog,
    /// A stream that was lost goes on at the end, and not behind the last event that came.
    ResumeAtTheEnd,
}

/// Each mistake with readers.
pub const READER_MISTAKES: [ReaderMistake; 4] = [
    ReaderMistake::ShareReadsOfAllEpochs,
    ReaderMistake::DropNewsWhileReading,
    ReaderMistake::StayInARestoredLog,
    ReaderMistake::ResumeAtTheEnd,
];

/// What a subscription could be tempted to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeaseMistake {
    /// An ack is known by its events, and not by its lease.
    AckByRange,
    /// An ack whose lease has ended moves the place on all the same.
    MoveOnWhenFenced,
    /// Leases are numbered by the database, which gives a number again once it was restored.
    NumberLeases,
    /// What is left of a piece of which a part is handed out again counts as settled.
    SettleTheRest,
}

/// Each mistake with leases, and what it breaks.
pub const LEASE_MISTAKES: [(LeaseMistake, &str); 4] = [
    (LeaseMistake::AckByRange, "a fenced ack changes nothing"),
    (LeaseMistake::MoveOnWhenFenced, "a fenced ack changes nothing"),
    (LeaseMistake::NumberLeases, "a fenced ack changes nothing"),
    (LeaseMistake::SettleTheRest, "what is settled was acked by a worker that had it"),
];
