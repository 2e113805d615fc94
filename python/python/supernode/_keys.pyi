"""Keys of the verbs, for type checkers; what each means is in the documentation of the command of that name."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TypedDict

from typing_extensions import Required

Path = str | PathLike[str]

class FactKeys(TypedDict, total=False):
    """Where facts come from and which of them are replaced."""

    catalog: Path
    set: str | Sequence[str] | Mapping[str, Any]
    region: str
    basis: str

class SweepFacts(TypedDict, total=False):
    """Facts of all cells of a sweep."""

    catalog: Path
    set: str | Sequence[str] | Mapping[str, Any]

class EstimateKeys(FactKeys, total=False):
    """An operating point."""

    system: Required[str]
    chip: str
    chips: float
    model: Required[str]
    engine: str
    engine_version: str
    mode: str
    weight_dtype: str
    act_dtype: str
    kv_dtype: str
    moe_dtype: str
    isl: int
    osl: int
    length_spread: float
    concurrency: int
    tp: int
    pp: int
    dp: int
    ep: int
    moe_tp: int
    redundant_experts: int
    prefill_instances: int
    prefill_tp: int
    prefill_pp: int
    prefill_dp: int
    prefill_ep: int
    prefill_moe_tp: int
    prefill_redundant_experts: int
    decode_instances: int
    decode_tp: int
    decode_pp: int
    decode_dp: int
    decode_ep: int
    decode_moe_tp: int
    decode_redundant_experts: int
    batch_per_rank: int
    kv_len: int
    spec_tokens: int
    spec_accept: float
    prefix_hit: float
    token_budget: int
    max_sequences: int
    memory_fraction: float
    stream_interval: int
    execution: str
    expert_skew: float
    micro_batches: bool

class JobKeys(FactKeys, total=False):
    """A job to be served."""

    model: Required[str]
    isl: int
    osl: int
    trace: Path
    prefix_hit: float
    ttft: str
    tpot: str
    engine: str
    weight_dtype: str | Sequence[str]
    kv_dtype: str | Sequence[str]
    spec_tokens: int
    spec_accept: float
    token_budget: int | Sequence[int]
    pp: int | Sequence[int]
    objective: str
    target_rate: str | float
    target_concurrency: int
    only: str
    mix: bool
    top: int

class ServingKeys(JobKeys, total=False):
    """A job to be served, and chips to be put into the systems."""

    chip: str | Sequence[str]

class MatchKeys(JobKeys, total=False):
    """A chip to be matched, and by which job."""

    system: str
    against_system: str
    chips: int
    vary: str | Sequence[str]

class TrainKeys(FactKeys, total=False):
    """A training job, and a run of many steps."""

    model: str
    shape: str
    system: str
    chip: str
    nic: str
    chips: int
    framework: str
    release: str
    tp: int
    pp: int
    vpp: int
    dp: int
    cp: int
    ep: int
    etp: int
    micro_batch: int
    global_batch: int
    seq: int
    schedule: str
    recompute: str
    zero: int
    precision: str
    sequence_parallel: bool
    context: str
    offload_optimizer: bool
    offload_activations: bool
    mtp: bool
    first_stage_layers: int
    last_stage_layers: int
    tokens: str
    checkpoint_interval: str
    spares: int

class PlanTrainKeys(TrainKeys, total=False):
    """What a search for layouts may choose, beside what the job fixes."""

    max_global_batch: int
    objective: str
    at_most: bool
    front: int | Sequence[int]
    top: int

class DeploymentKeys(FactKeys, total=False):
    """One aggregated deployment, as the command's flags have it."""

    model: str
    system: str
    chip: str
    engine: str
    engine_version: str
    weight_dtype: str
    act_dtype: str
    kv_dtype: str
    moe_dtype: str
    spec_tokens: int
    spec_accept: float
    instances: int
    tp: int
    pp: int
    dp: int
    ep: int
    moe_tp: int
    redundant_experts: int
    router: str
    batching: str
    order: str
    preemption: str
    token_budget: int
    max_seqs: int
    max_sequences: int
    prefix_cache: bool
    memory_fraction: float
    stream_interval: int
    execution: str
    expert_skew: float
    micro_batches: bool

class SimulateKeys(DeploymentKeys, total=False):
    """One aggregated deployment and its traffic."""

    requests: int
    arrival: str
    rate: str | float
    burstiness: float
    users: int
    warm_up: int
    isl: str | int
    osl: str | int
    trace: Path
    trace_format: str
    time_unit: str
    block_size: int
    columns: str
    rate_scale: float
    repeat: int
    slo_ttft: str
    slo_tpot: str

class UpKeys(DeploymentKeys, total=False):
    """One aggregated deployment and the lengths of its answers."""

    osl: str | int
