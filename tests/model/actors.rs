//! The actors of a node, the steps that they take, and how they die.

use super::{
    Fault, IDS, Mistake, NODES, Protocol, State,
    ledger::{Call, Commit, Event, Group, Id, RequestNo, Seq},
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Request {
    pub node: usize,
    pub ids: &'static [Id],
    /// What the shards knew of its ids.
    pub known: [Seq; IDS],
    /// `None` while it waits. No outcomes mean "try again".
    pub answer: Option<Vec<Event>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// For each shard, the requests of which it has a part to look at.
    pub mailboxes: [Vec<RequestNo>; IDS],
    /// Where the id of each shard is stored, as far as the shard knows. What it is taught takes no time on its
    /// way: a shard that does not know yet is like one that has looked before the commit.
    pub windows: [Seq; IDS],
    /// Whole requests that wait for the writer.
    pub queue: Vec<RequestNo>,
    /// The call that the writer waits for, and its answer once that is on its way.
    pub hand: Option<(Call, Option<Commit>)>,
    /// A writer's id is new with each start of the process; its numbers only rise.
    pub last_group: Group,
}

impl Node {
    pub fn start(writer: usize) -> Self {
        Self { last_group: Group { writer, no: 0 }, ..Self::default() }
    }

    pub fn holds(&self, request: RequestNo) -> bool {
        let in_hand = self.hand.iter().flat_map(|(call, _)| &call.requests);
        self.mailboxes.iter().flatten().chain(&self.queue).chain(in_hand).any(|no| *no == request)
    }

    fn teach_shards(&mut self, outcomes: &[Event]) {
        outcomes.iter().for_each(|event| self.windows[event.id] = event.seq);
    }
}

/// Only the first answer counts. What was known of a request that is answered matters no more.
fn answer(requests: &mut [Request], no: RequestNo, outcomes: &[Event]) {
    let own = outcomes.iter().copied().filter(|event| event.request == no);
    requests[no].answer.get_or_insert_with(|| own.collect());
    requests[no].known = [0; IDS];
}

impl Protocol {
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// A node admits a request: each shard gets its part.
    pub fn publish(&self, state: &mut State, node: usize, ids: &'static [Id]) {
        ids.iter().for_each(|id| state.nodes[node].mailboxes[*id].push(state.requests.len()));
        state.requests.push(Request { node, ids, ..Request::default() });
    }

    /// A shard marks what it knows of a request. The one that finishes last sends the request on, whole.
    pub fn look(&self, state: &mut State, node: usize, shard: usize) {
        let Node { mailboxes, windows, queue, .. } = &mut state.nodes[node];
        let no = mailboxes[shard].remove(0);
        if state.requests[no].answer.is_none() {
            state.requests[no].known[shard] = windows[shard];
            if self.makes(Mistake::AnswerFromAnInFlightMark) && windows[shard] == 0 {
                windows[shard] = Seq::MAX;
            }
            if !mailboxes.iter().flatten().any(|unfinished| *unfinished == no) {
                queue.push(no);
            }
        }
    }

    /// The writer takes the first requests of its queue in hand, and calls the database.
    pub fn take_group(&self, state: &mut State, node: usize, count: usize) {
        let State { nodes, requests, ledger, .. } = state;
        let node = &mut nodes[node];
        node.last_group.no += 1;
        let taken: Vec<RequestNo> = node.queue.drain(..count).collect();
        let mut call = Call { group: node.last_group, requests: taken, events: Vec::new() };
        for request in call.requests.iter().copied() {
            let Request { ids, known, .. } = &requests[request];
            let mark = |id: &Id| Event { request, id: *id, seq: known[*id], is_new: false };
            call.events.extend(ids.iter().map(mark));
        }
        let guess = || ledger.clone().append(&call, None).unwrap_or_default().outcomes;
        if self.makes(Mistake::LearnBeforeCommit) {
            node.teach_shards(&guess());
        }
        if self.makes(Mistake::ReplyBeforeCommit) {
            call.requests.iter().for_each(|no| answer(requests, *no, &guess()));
        }
        node.hand = Some((call, None));
    }

    /// After the commit, the writer teaches the shards, and then answers one request after the other. It may die
    /// after some of these steps: who has no answer by then is told to try again.
    pub fn finish(&self, state: &mut State, node: usize, steps: usize) {
        let State { nodes, requests, ledger, .. } = state;
        let Some((call, commit)) = nodes[node].hand.take() else { return };
        let mut outcomes = commit.unwrap_or_default().outcomes;
        for (outcome, event) in outcomes.iter_mut().zip(&call.events) {
            // They can only be matched by their places.
            (outcome.request, outcome.id) = (event.request, event.id);
        }
        if steps > 0 {
            nodes[node].teach_shards(&outcomes);
        }
        for (place, no) in call.requests.into_iter().enumerate() {
            answer(requests, no, if place + 1 < steps { &outcomes } else { &[] });
        }
        if self.makes(Mistake::CountOutsideTheTransaction) && steps > 0 {
            ledger.commits.last_mut().expect("a commit").received += outcomes.len();
        }
    }

    pub fn suffer(&self, state: &mut State, node: usize, fault: Fault) {
        let State { nodes, requests, abandoned, .. } = state;
        let Node { mailboxes, windows, hand, last_group, .. } = &mut nodes[node];
        if !matches!(fault, Fault::ShardCrash { .. }) {
            // A call without an answer may have been lost on its way, or may yet be carried out.
            let unanswered = hand.iter().filter(|(_, answer)| answer.is_none());
            abandoned.extend(unanswered.map(|(call, _)| call.clone()));
        }
        match fault {
            Fault::AnswerLost => {
                let Some((call, answer)) = hand else { return };
                *answer = None;
                if self.makes(Mistake::RetryWithoutTheNumber) {
                    last_group.no += 1;
                    call.group = *last_group;
                }
            }
            Fault::WriterCrash { after_steps } => self.finish(state, node, after_steps),
            Fault::ShardCrash { shard, parts } => {
                windows[shard] = 0;
                mailboxes[shard].drain(..parts).for_each(|no| answer(requests, no, &[]));
            }
            Fault::NodeCrash => {
                let writer = last_group.writer + NODES;
                let lost = (0..requests.len()).filter(|no| nodes[node].holds(*no));
                lost.for_each(|no| answer(requests, no, &[]));
                nodes[node] = Node::start(writer);
            }
        }
    }
}
