//! A hash of everything the control plane was told and answered, and when: two runs with equal digests decided alike.

use crate::record::Observer;
use serving::{Action, Endpoint, Event, KvChange, Nanos, Request, Run, Timer};

/// The hash so far. It depends on the order of what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    state: u64,
    /// Events told so far.
    pub events: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { state: 0x6A09_E667_F3BC_C908, events: 0 }
    }
}

impl Digest {
    /// The hash as 16 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:016x}", self.state)
    }

    /// Folded multiplication: every bit of what goes in reaches every bit of the state.
    fn put(&mut self, value: u64) {
        let product = u128::from(self.state.rotate_left(29) ^ value)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    fn tag(&mut self, tag: u64, first: u64, second: u64) {
        self.put(tag << 56 ^ first);
        self.put(second);
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Started => self.tag(1, 0, 0),
            Event::Arrived(id, request) => {
                self.tag(2, id.0.into(), request.prompt.into());
                self.request(request);
            }
            Event::Cancelled(id) => self.tag(3, id.0.into(), 0),
            Event::StepFinished { instance, steps, ended } => {
                self.tag(4, instance.0.into(), (*steps).into());
                ended.iter().for_each(|end| self.put(end.request.0.into()));
            }
            Event::TransfersFinished(transfers) => {
                self.tag(5, transfers.len() as u64, 0);
                transfers.iter().for_each(|transfer| self.put(transfer.0));
            }
            Event::InstanceFailed { instance, ranks, repairable } => {
                self.tag(6, instance.0.into(), u64::from(*ranks) << 1 | u64::from(*repairable));
            }
            Event::InstanceRepaired(instance) => self.tag(7, instance.0.into(), 0),
            Event::Timer(Timer::Loaded(instance)) => self.tag(8, instance.0.into(), 0),
            Event::Timer(Timer::Scale(pool)) => self.tag(9, (*pool).into(), 0),
            Event::Admin(commands) => {
                self.tag(10, commands.len() as u64, 0);
                // Rare enough to be hashed as text, which forgets no field.
                commands.iter().for_each(|command| self.text(&format!("{command:?}")));
            }
        }
    }

    fn request(&mut self, request: &Request) {
        self.put(request.max_tokens.map_or(0, |tokens| u64::from(tokens) + 1));
        self.put(u64::from(request.deployment) << 32 | u64::from(request.tenant));
        self.put(request.session.unwrap_or(0));
        self.put(request.instance.map_or(0, |instance| u64::from(instance.0) + 1));
        self.put(request.deadline.map_or(0, Nanos::get) ^ u64::from(request.priority) << 56);
        request.prefix.iter().flat_map(|hashes| hashes.iter()).for_each(|hash| self.put(*hash));
    }

    fn text(&mut self, text: &str) {
        self.put(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            self.put(chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Admitted { request, instance, cached, fetched } => {
                self.tag(32, request.0.into(), instance.0.into());
                self.put(u64::from(*cached) << 32 | u64::from(*fetched));
            }
            Action::LastChunk { request, instance } => self.tag(33, request.0.into(), instance.0.into()),
            Action::Joined { request, instance, clock } => {
                self.tag(34, request.0.into(), instance.0.into());
                self.put(*clock);
            }
            Action::Left { request, instance, clock, lost } => {
                self.tag(35, request.0.into(), instance.0.into());
                self.tag(0, *clock, (*lost).into());
            }
            Action::Start { instance, run } => self.start(instance.0, run),
            Action::Interrupt(instance) => self.tag(37, instance.0.into(), 0),
            Action::Abort(instance) => self.tag(38, instance.0.into(), 0),
            Action::Transfer { transfer, request, from, to, bytes } => {
                self.tag(39, request.0.into(), transfer.0);
                self.endpoint(*from);
                self.endpoint(*to);
                self.put(bytes.get().to_bits());
            }
            Action::CancelTransfer(transfer) => self.tag(40, 0, transfer.0),
            Action::Finished(id) => self.tag(41, id.0.into(), 0),
            Action::Rejected(id, reason) => self.tag(42, id.0.into(), *reason as u64),
            Action::Dropped(id) => self.tag(43, id.0.into(), 0),
            Action::SetTimer(at, Timer::Loaded(instance)) => self.tag(44, instance.0.into(), at.get()),
            Action::SetTimer(at, Timer::Scale(pool)) => self.tag(45, (*pool).into(), at.get()),
            Action::Instance(instance, state) => self.tag(46, instance.0.into(), *state as u64),
            Action::Kv { instance, rank, change } => {
                self.tag(47, instance.0.into(), (*rank).into());
                match change {
                    KvChange::Stored { hash, parent } => self.tag(1, parent.unwrap_or(0) >> 8, *hash),
                    KvChange::Evicted { hash } => self.tag(2, 0, *hash),
                    KvChange::Cleared => self.tag(3, 0, 0),
                }
            }
        }
    }

    fn start(&mut self, instance: u32, run: &Run) {
        self.tag(36, instance.into(), run.max_steps.into());
        self.put(u64::from(run.decode_seqs) << 32 | u64::from(run.prefill_tokens));
        let load = &run.shape.busiest;
        for real in [
            run.context_per_step,
            run.shape.total_decode_seqs,
            run.shape.total_prefill_tokens,
            load.decode_seqs,
            load.decode_context,
            load.prefill_pairs,
        ] {
            self.put(real.to_bits());
        }
    }

    fn endpoint(&mut self, endpoint: Endpoint) {
        match endpoint {
            Endpoint::Instance(instance) => self.tag(1, instance.0.into(), 0),
            Endpoint::Host(instance) => self.tag(2, instance.0.into(), 0),
            Endpoint::Tier(tier, owner) => {
                self.tag(3, tier.into(), owner.map_or(0, |instance| u64::from(instance.0) + 1));
            }
        }
    }
}

impl Observer for Digest {
    fn told(&mut self, at: Nanos, event: &Event) {
        self.events += 1;
        self.put(at.get());
        self.event(event);
    }

    fn decided(&mut self, _: Nanos, actions: &[Action]) {
        self.put(actions.len() as u64);
        actions.iter().for_each(|action| self.action(action));
    }
}
