//! The control plane of inference: router, scheduler, KV cache, pools.
