//! Prices from kernels measured on the chip or its relatives.

use crate::fabric::Fabric;
use crate::pricer::{Collective, Group, Pricer};
use crate::roofline::Roofline;
use cost::kernels::{Kernels, KernelsError, PricedGemm};
use cost::ops::{AttentionPrefill, Gemm, Machine, Precision};
use hardware::{Chip, System};
use std::collections::BTreeMap;
use units::{Bytes, BytesPerSecond, Dtype, Flop, Seconds};

/// A chip whose kernels were measured, in a system.
pub struct Measured {
    gemms: BTreeMap<Dtype, PricedGemm>,
    elementwise: cost::ops::elementwise::Elementwise,
    machine: Machine,
    roofline: Roofline,
    fabric: Fabric,
}

impl Measured {
    /// One rank of `chip` in `system`; `kernels` are the chip's, `nic` replaces the scale-out bandwidth of a rank.
    ///
    /// # Errors
    /// The chip has no matrix unit for 16-bit operands.
    pub fn new(
        chip: &Chip,
        system: &System,
        kernels: &Kernels,
        nic: Option<BytesPerSecond>,
    ) -> Result<Self, KernelsError> {
        let mut gemms = BTreeMap::new();
        for dtype in
            [Dtype::Bf16, Dtype::Fp16, Dtype::Fp8, Dtype::Fp8Block, Dtype::Mxfp8, Dtype::Nvfp4, Dtype::Hif8]
        {
            if chip.rank.compute_dtype(dtype).is_some() {
                match kernels.gemm_kernel(Precision { weight: dtype, activation: dtype }) {
                    Ok(kernel) => drop(gemms.insert(dtype, kernel.without_quantise())),
                    // Nothing measured on the chip, its relatives or in general: the data sheet has to do.
                    Err(KernelsError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self {
            gemms,
            elementwise: kernels.elementwise_kernel(),
            machine: kernels.machine(Dtype::Bf16)?,
            roofline: Roofline::new(chip, system, nic),
            fabric: Fabric::new(system, nic),
        })
    }
}

impl Pricer for Measured {
    fn gemm(&self, op: Gemm, dtype: Dtype) -> Seconds {
        self.gemms.get(&dtype).map_or_else(|| self.roofline.gemm(op, dtype), |kernel| kernel.price(op).time)
    }

    fn attention(&self, op: AttentionPrefill) -> Seconds {
        self.roofline.attention(op)
    }

    fn vector(&self, flop: Flop) -> Seconds {
        self.roofline.vector(flop)
    }

    fn stream(&self, bytes: Bytes) -> Seconds {
        if bytes.get() <= 0.0 {
            return Seconds::ZERO;
        }
        self.elementwise.price(&self.machine, bytes, f64::INFINITY).time
    }

    fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds {
        self.fabric.collective(op, bytes, group)
    }

    fn send(&self, bytes: Bytes, stride: u32) -> Seconds {
        self.fabric.send(bytes, stride)
    }

    fn host_copy(&self, bytes: Bytes) -> Seconds {
        self.fabric.host_copy(bytes)
    }
}
