//! The actors of a node, the steps that they take, and how they die.

use std::collections::BTreeMap;

use super::{
    Fault, IDS, Mistake, NAMESPACES, NODES, Protocol, State,
    database::{Call, Commit, Event, Group, Id, LedgerKey, Mark, Outcome, RequestNo, Seq},
};

/// Tells apart what a node learned before a ledger was opened or found to be restored, and after. No two of one start of
/// a node are the same.
pub type Epoch = usize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Request {
    pub node: usize,
    /// The ledger that its namespace had when it was admitted.
    pub ledger: LedgerKey,
    /// The place of that ledger among those that its node has opened.
    pub open: usize,
    pub epoch: Epoch,
    pub ids: &'static [Id],
    /// What the shards knew of its ids.
    pub known: [Seq; IDS],
    /// `None` while it waits. No outcomes mean "try again".
    pub answer: Option<Vec<Event>>,
}

/// A ledger that is open on a node, with its position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenLedger {
    pub key: LedgerKey,
    /// The newest commit that was seen, and the epoch in which it was seen.
    pub seen: Mark,
    pub epoch: Epoch,
    pub is_gone: bool,
}

/// A ledger, to the writer of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LedgerQueue {
    /// The place of its ledger among those that the node has opened.
    pub open: usize,
    /// Whole requests that wait.
    pub requests: Vec<RequestNo>,
    /// Where the ids of the last groups are stored. All that they might know: what is asked for may be missing.
    pub recent: [Seq; IDS],
    pub hand: Option<Hand>,
}

/// A group that is being committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hand {
    pub call: Call,
    /// The ledger that it was formed for, and the epoch.
    pub open: usize,
    pub epoch: Epoch,
    /// The answer once that is on its way.
    pub outcome: Option<Outcome>,
    /// The database has lost it since.
    pub is_lost: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// What each namespace is open as.
    pub directory: [Option<usize>; NAMESPACES],
    /// Ledgers that were opened, in that order; `None` where nobody has one any more.
    pub opened: Vec<Option<OpenLedger>>,
    pub last_epoch: Epoch,
    /// For each shard, the requests of which it has a part to look at.
    pub mailboxes: [Vec<RequestNo>; IDS],
    /// Where the id of each shard is stored, by epoch, as far as the shard knows. What it is taught takes no time on its
    /// way: a shard that does not know yet is like one that has looked before the commit.
    pub windows: [BTreeMap<Epoch, Seq>; IDS],
    pub queues: BTreeMap<LedgerKey, LedgerQueue>,
    /// A writer's id is new with each start of the process; its numbers only rise.
    pub last_group: Group,
}

impl Node {
    pub fn start(writer: usize) -> Self {
        Self { last_group: Group { writer, no: 0 }, ..Self::default() }
    }

    pub fn holds(&self, request: RequestNo) -> bool {
        let hands = self.queues.values().flat_map(|queue| &queue.hand);
        let queued = self.queues.values().flat_map(|queue| &queue.requests);
        let in_hand = hands.flat_map(|hand| &hand.call.requests);
        self.mailboxes.iter().flatten().chain(queued).chain(in_hand).any(|no| *no == request)
    }

    pub fn opened(&mut self, place: usize) -> &mut OpenLedger {
        self.opened[place].as_mut().expect("whoever names it has it")
    }

    fn teach_shards(&mut self, window_key: Epoch, outcomes: &[Event]) {
        for event in outcomes {
            self.windows[event.id].insert(window_key, event.seq);
        }
    }
}

/// Only the first answer counts. What was known of a request that is answered matters no more.
pub fn answer(requests: &mut [Request], no: RequestNo, outcomes: &[Event]) {
    let own = outcomes.iter().copied().filter(|event| event.request == no);
    let Request { known, open, epoch, answer, .. } = &mut requests[no];
    answer.get_or_insert_with(|| own.collect());
    (*known, *open, *epoch) = Default::default();
}

impl Protocol {
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// An epoch that was not there before.
    fn new_epoch(&self, node: &mut Node, ledger: LedgerKey) -> Epoch {
        if self.makes(Mistake::OpenAgainInTheSameEpoch) {
            return ledger.ledger_id;
        }
        node.last_epoch += 1;
        node.last_epoch
    }

    /// What windows remember an id by, beside the id itself.
    fn window_key(&self, epoch: Epoch) -> Epoch {
        if self.makes(Mistake::RememberIdsWithoutEpoch) { 0 } else { epoch }
    }

    /// A node admits a request to a namespace, whose ledger is opened where it is not open: each shard gets its part.
    pub fn publish(&self, state: &mut State, node: usize, namespace: usize, ids: &'static [Id]) {
        let State { nodes, requests, database, .. } = state;
        let node_no = node;
        let node = &mut nodes[node];
        let open = node.directory[namespace].unwrap_or_else(|| {
            let (key, seen) = database.find(namespace).expect("a namespace that exists");
            let epoch = self.new_epoch(node, key);
            node.opened.push(Some(OpenLedger { key, seen, epoch, is_gone: false }));
            node.opened.len() - 1
        });
        node.directory[namespace] = Some(open);
        let no = requests.len();
        ids.iter().for_each(|id| node.mailboxes[*id].push(no));
        let OpenLedger { key: ledger, epoch, .. } = *node.opened(open);
        requests.push(Request { node: node_no, ledger, open, epoch, ids, ..Request::default() });
    }

    /// Whoever reads a ledger finds that it is gone: it is forgotten.
    pub fn find_gone(&self, state: &mut State, node: usize, namespace: usize) {
        let node = &mut state.nodes[node];
        let Some(open) = node.directory[namespace].take() else { return };
        node.opened(open).is_gone = true;
    }

    /// A ledger that nobody uses is closed. Its queue may be forgotten earlier, which costs the recent ids.
    pub fn close(&self, state: &mut State, node: usize, namespace: usize) {
        let node = &mut state.nodes[node];
        let Some(open) = node.directory[namespace].take() else { return };
        node.queues.retain(|_, queue| queue.open != open);
    }

    /// A shard marks what it knows of a request. The one that finishes last sends the request on, whole.
    pub fn look(&self, state: &mut State, node: usize, shard: usize) {
        let State { nodes, requests, .. } = state;
        let Node { mailboxes, windows, .. } = &mut nodes[node];
        let no = mailboxes[shard].remove(0);
        let request = &mut requests[no];
        if request.answer.is_some() {
            return;
        }
        let key = self.window_key(request.epoch);
        request.known[shard] = windows[shard].get(&key).copied().unwrap_or_default();
        if self.makes(Mistake::AnswerFromAnInFlightMark) && request.known[shard] == 0 {
            windows[shard].insert(key, Seq::MAX);
        }
        if !mailboxes.iter().flatten().any(|unfinished| *unfinished == no) {
            self.enqueue(&mut nodes[node], requests, no);
        }
    }

    /// The writer takes a whole request.
    fn enqueue(&self, node: &mut Node, requests: &mut [Request], no: RequestNo) {
        let Request { ledger, open, .. } = requests[no];
        if node.opened(open).is_gone {
            self.answer_gone(node, requests, open, no);
            return;
        }
        let queue =
            node.queues.entry(ledger).or_insert_with(|| LedgerQueue { open, ..LedgerQueue::default() });
        if queue.open != open {
            // It was forgotten and opened again. What is remembered was seen of the other one.
            queue.open = open;
            if !self.makes(Mistake::KeepRecentIdsOfAnotherOpening) {
                queue.recent = [0; IDS];
            }
        }
        queue.requests.push(no);
    }

    /// Whoever is answered that a ledger is gone has the directory forget it.
    fn answer_gone(&self, node: &mut Node, requests: &mut [Request], open: usize, no: RequestNo) {
        node.opened(open).is_gone = true;
        let namespace = node.directory.iter_mut().find(|entry| **entry == Some(open));
        namespace.into_iter().for_each(|entry| *entry = None);
        answer(requests, no, &[]);
    }

    /// The writer takes the first requests of a queue in hand, and calls the database. It may have forgotten its recent
    /// ids.
    pub fn take_group(&self, state: &mut State, node: usize, key: LedgerKey, count: usize, remembers: bool) {
        let State { nodes, requests, database, .. } = state;
        let node = &mut nodes[node];
        node.last_group.no += 1;
        let group = node.last_group;
        let queue = node.queues.get_mut(&key).expect("a queue");
        let (open, recent) = (queue.open, queue.recent);
        let taken: Vec<RequestNo> = queue.requests.drain(..count).collect();
        let OpenLedger { seen, epoch, .. } = *node.opened(open);
        let mut call = Call { ledger: key, group, seen, requests: taken, events: Vec::new() };
        for request in call.requests.iter().copied() {
            let Request { ids, known, epoch: marked_in, .. } = &requests[request];
            let marks_count = *marked_in == epoch || self.makes(Mistake::TrustMarksOfAnyEpoch);
            let mark = |id: &Id| {
                let seq = if marks_count { known[*id] } else { 0 };
                let seq = if seq == 0 && remembers { recent[*id] } else { seq };
                Event { request, id: *id, seq, is_new: false }
            };
            call.events.extend(ids.iter().map(mark));
        }
        let guess = || match database.clone().append(&call, None) {
            Outcome::Committed(commit) => commit.outcomes,
            _ => Vec::new(),
        };
        if self.makes(Mistake::LearnBeforeCommit) {
            node.teach_shards(epoch, &guess());
        }
        if self.makes(Mistake::ReplyBeforeCommit) {
            call.requests.iter().for_each(|no| answer(requests, *no, &guess()));
        }
        let hand = Hand { call, open, epoch, outcome: None, is_lost: false };
        node.queues.get_mut(&key).expect("a queue").hand = Some(hand);
    }

    /// The answer has come. The writer may die after some of the steps that follow on a commit.
    pub fn finish(&self, state: &mut State, node: usize, key: LedgerKey, steps: usize) {
        let State { nodes, requests, database, .. } = state;
        let node = &mut nodes[node];
        let queue = node.queues.get_mut(&key).expect("a queue");
        let Some(hand) = queue.hand.take() else { return };
        match &hand.outcome {
            Some(Outcome::Committed(commit)) => {
                let mut outcomes = commit.outcomes.clone();
                for (outcome, event) in outcomes.iter_mut().zip(&hand.call.events) {
                    // They can only be matched by their places.
                    (outcome.request, outcome.id) = (event.request, event.id);
                }
                self.take_commit(node, &hand, commit.mark, &outcomes, steps);
                // What the database has lost since was promised for as long as it was there.
                let told: &[Event] = if hand.is_lost { &[] } else { &outcomes };
                for (place, no) in hand.call.requests.into_iter().enumerate() {
                    answer(requests, no, if place + 2 < steps { told } else { &[] });
                }
                if self.makes(Mistake::CountOutsideTheTransaction) && steps > 0 {
                    let ledger = database.ledgers.get_mut(key.namespace_no);
                    let newest = ledger.and_then(|ledger| ledger.commits.last_mut());
                    newest.into_iter().for_each(|newest| newest.received += outcomes.len());
                }
            }
            Some(Outcome::Restored(found)) if steps > 0 => {
                // The group is tried again, before what came later.
                let waiting = hand.call.requests.iter().filter(|no| requests[**no].answer.is_none());
                queue.requests.splice(0..0, waiting.copied());
                self.start_over(node, key, hand.open, *found);
            }
            Some(Outcome::Gone) if steps > 0 => {
                let queue = node.queues.remove(&key).unwrap_or_default();
                for no in hand.call.requests.into_iter().chain(queue.requests) {
                    let open = if requests[no].answer.is_none() { requests[no].open } else { hand.open };
                    self.answer_gone(node, requests, open, no);
                }
            }
            _ => hand.call.requests.iter().for_each(|no| answer(requests, *no, &[])),
        }
    }

    /// The writer moves its position on and remembers the ids, and then teaches the shards.
    fn take_commit(&self, node: &mut Node, hand: &Hand, mark: Mark, outcomes: &[Event], steps: usize) {
        let (first, second) = if self.makes(Mistake::TeachBeforeMovingOn) { (2, 1) } else { (1, 2) };
        let queue = node.queues.get_mut(&hand.call.ledger).expect("a queue");
        let is_same = queue.open == hand.open || self.makes(Mistake::KeepRecentIdsOfAnotherOpening);
        if steps >= first && is_same {
            outcomes.iter().for_each(|event| queue.recent[event.id] = event.seq);
        }
        if steps >= first {
            node.opened(hand.open).seen = mark;
        }
        if steps >= second {
            node.teach_shards(self.window_key(hand.epoch), outcomes);
        }
    }

    /// The database is an older copy: what is known of stored ids counts no more.
    fn start_over(&self, node: &mut Node, key: LedgerKey, open: usize, found: Mark) {
        let epoch = self.new_epoch(node, key);
        let ledger = node.opened(open);
        ledger.seen = found;
        if !self.makes(Mistake::StartOverInTheSameEpoch) {
            ledger.epoch = epoch;
        }
        if !self.makes(Mistake::KeepRecentIdsOverARestore) {
            node.queues.get_mut(&key).expect("a queue").recent = [0; IDS];
        }
    }

    pub fn suffer(&self, state: &mut State, node: usize, fault: Fault) {
        match fault {
            Fault::AnswerLost { ledger } => {
                let Node { queues, last_group, .. } = &mut state.nodes[node];
                let Some(hand) = queues.get_mut(&ledger).and_then(|queue| queue.hand.as_mut()) else {
                    return;
                };
                // It may have been lost on its way, or may yet be carried out.
                state.abandoned.extend(hand.outcome.is_none().then(|| hand.call.clone()));
                (hand.outcome, hand.is_lost) = (None, false);
                if self.makes(Mistake::RetryWithoutTheNumber) {
                    last_group.no += 1;
                    hand.call.group = *last_group;
                }
            }
            Fault::WriterCrash { finishes } => {
                if let Some((ledger, steps)) = finishes {
                    self.finish(state, node, ledger, steps);
                }
                self.lose_hands(state, node);
            }
            Fault::ShardCrash { shard, parts } => {
                let State { nodes, requests, .. } = state;
                nodes[node].windows[shard].clear();
                nodes[node].mailboxes[shard].drain(..parts).for_each(|no| answer(requests, no, &[]));
            }
            Fault::NodeCrash => {
                self.lose_hands(state, node);
                let State { nodes, requests, .. } = state;
                let writer = nodes[node].last_group.writer + NODES;
                let lost = (0..requests.len()).filter(|no| nodes[node].holds(*no));
                lost.for_each(|no| answer(requests, no, &[]));
                nodes[node] = Node::start(writer);
            }
        }
    }

    /// The writer's groups in hand are lost with all that it remembers, and its queues stay.
    fn lose_hands(&self, state: &mut State, node: usize) {
        let State { nodes, requests, abandoned, .. } = state;
        for queue in nodes[node].queues.values_mut() {
            queue.recent = [0; IDS];
            let Some(hand) = queue.hand.take() else { continue };
            hand.call.requests.iter().for_each(|no| answer(requests, *no, &[]));
            abandoned.extend(hand.outcome.is_none().then_some(hand.call));
        }
    }
}

impl State {
    /// What was told of commits that the database loses is lost with them, and is nobody's fault.
    pub fn forgive(&mut self, ledger: LedgerKey, lost: &[Commit]) {
        for event in lost.iter().flat_map(|commit| &commit.outcomes) {
            let request = &mut self.requests[event.request];
            request.answer.iter_mut().filter(|_| request.ledger == ledger).for_each(Vec::clear);
        }
        let hands = self.nodes.iter_mut().flat_map(|node| node.queues.values_mut());
        for hand in hands.filter_map(|queue| queue.hand.as_mut()) {
            let is_lost =
                |outcome: &Outcome| matches!(outcome, Outcome::Committed(own) if lost.contains(own));
            hand.is_lost |= hand.outcome.as_ref().is_some_and(is_lost);
        }
    }
}
