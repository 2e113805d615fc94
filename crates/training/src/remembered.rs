//! Prices remembered: a search asks for the same products and collectives over and over.

use crate::pricer::{Collective, Exchange, Group, Pricer};
use cost::ops::{AttentionPrefill, Gemm};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::hash::Hash;
use units::{Bytes, Dtype, Flop, Seconds};

/// What was asked for and what it costs.
type Known<Key> = RefCell<FxHashMap<Key, Seconds>>;

/// Another pricer's answers, each asked for once.
pub(crate) struct Remembered<'a> {
    inner: &'a dyn Pricer,
    gemms: Known<([u64; 3], Dtype)>,
    attentions: Known<[u64; 8]>,
    collectives: Known<(Collective, u64, Group)>,
    sends: Known<(u64, u32)>,
}

impl<'a> Remembered<'a> {
    pub fn new(inner: &'a dyn Pricer) -> Self {
        Self {
            inner,
            gemms: RefCell::default(),
            attentions: RefCell::default(),
            collectives: RefCell::default(),
            sends: RefCell::default(),
        }
    }
}

fn once<Key: Eq + Hash>(known: &Known<Key>, key: Key, ask: impl FnOnce() -> Seconds) -> Seconds {
    *known.borrow_mut().entry(key).or_insert_with(ask)
}

impl Pricer for Remembered<'_> {
    fn gemm(&self, op: Gemm, dtype: Dtype) -> Seconds {
        let key = ([op.m, op.n, op.k].map(f64::to_bits), dtype);
        once(&self.gemms, key, || self.inner.gemm(op, dtype))
    }

    fn attention(&self, op: AttentionPrefill) -> Seconds {
        let window = op.window.unwrap_or(f64::INFINITY);
        let sizes =
            [op.batch, op.new_tokens, op.past_tokens, op.heads, op.kv_heads, op.qk_dim, op.v_dim, window];
        once(&self.attentions, sizes.map(f64::to_bits), || self.inner.attention(op))
    }

    fn vector(&self, flop: Flop) -> Seconds {
        self.inner.vector(flop)
    }

    fn stream(&self, bytes: Bytes) -> Seconds {
        self.inner.stream(bytes)
    }

    fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds {
        let key = (op, bytes.get().to_bits(), group);
        once(&self.collectives, key, || self.inner.collective(op, bytes, group))
    }

    fn inside_scale_up(&self, group: Group) -> bool {
        self.inner.inside_scale_up(group)
    }

    fn exchange(&self, op: &Exchange) -> Seconds {
        self.inner.exchange(op)
    }

    fn send(&self, bytes: Bytes, stride: u32) -> Seconds {
        once(&self.sends, (bytes.get().to_bits(), stride), || self.inner.send(bytes, stride))
    }

    fn host_copy(&self, bytes: Bytes) -> Seconds {
        self.inner.host_copy(bytes)
    }

    fn straggling(&self, chips: f64) -> f64 {
        self.inner.straggling(chips)
    }
}
