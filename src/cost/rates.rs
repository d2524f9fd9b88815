//! What a device reaches: its peaks joined with the constants an engine and a number format have on it.

use crate::catalog::calibration::{
    Calibration, DecodeAttentionConstants, GemmConstants, LinearConstants, MlaDecodeConstants, MlaPrefillConstants, MoeConstants,
    PrefillAttentionConstants, pick,
};
use crate::catalog::{Catalog, Confidence, Device, Dtype, Engine, LinearKind};

use super::error::CannotModel;

/// Microseconds in a second.
pub(super) const US: f64 = 1e6;

/// How weights of a number format are multiplied on a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic {
    /// Peak of the unit that multiplies, FLOP/s.
    pub peak_flops: f64,
    /// Bytes a weight takes in memory.
    pub weight_bytes: f64,
    /// Bytes of the quantised copy of an input value; 0 when inputs stay in 16 bit.
    pub input_copy_bytes: f64,
    /// The format whose constants apply.
    pub constants_of: Dtype,
    /// The constants are those of another format.
    pub borrowed: bool,
}

impl Arithmetic {
    /// Formats without a unit of their own are read as they are and multiplied in 16 bit (weight-only quantisation).
    pub fn of(device: &Device, dtype: Dtype) -> Arithmetic {
        let sixteen = |borrowed| Arithmetic {
            peak_flops: device.bf16_flops,
            weight_bytes: dtype.weight_bytes(),
            input_copy_bytes: 0.0,
            constants_of: Dtype::Bf16,
            borrowed,
        };
        let own = |peak_flops: f64, input_copy_bytes, constants_of: Dtype| Arithmetic {
            peak_flops,
            weight_bytes: dtype.weight_bytes(),
            input_copy_bytes,
            constants_of,
            borrowed: constants_of != dtype,
        };
        match dtype {
            Dtype::Bf16 | Dtype::Fp16 => sixteen(false),
            Dtype::Int4 | Dtype::Mxfp4 => sixteen(true),
            Dtype::Fp8 | Dtype::Fp8Block => device.fp8_flops.map_or(sixteen(true), |peak| own(peak, 1.0, dtype)),
            Dtype::Int8 => device.int8_flops.map_or(sixteen(true), |peak| own(peak, 1.0, Dtype::Fp8)),
            Dtype::Nvfp4 => device.fp4_flops.map_or(sixteen(true), |peak| own(peak, dtype.weight_bytes(), dtype)),
        }
    }
}

impl Arithmetic {
    /// Multiplied by the unit of another format, where one is named.
    pub fn with_unit_of(self, device: &Device, unit: Option<Dtype>) -> Arithmetic {
        let peak = match unit {
            Some(Dtype::Fp8 | Dtype::Fp8Block) => device.fp8_flops,
            Some(Dtype::Nvfp4) => device.fp4_flops,
            Some(Dtype::Bf16 | Dtype::Fp16) => Some(device.bf16_flops),
            _ => None,
        };
        Arithmetic { peak_flops: peak.unwrap_or(self.peak_flops), ..self }
    }
}

/// Looks constants up for one device and engine, and keeps the weakest confidence met on the way.
pub(super) struct Lookup<'a> {
    own: &'a Calibration,
    own_confidence: Confidence,
    typical: &'a Calibration,
    engine: Engine,
    /// The part of the lost time of products that a borrowing device loses too: see [`Lookup::eased`].
    lost: f64,
    pub confidence: Confidence,
}

impl<'a> Lookup<'a> {
    pub fn new(catalog: &'a Catalog, device: &Device, engine: Engine) -> Result<Lookup<'a>, CannotModel> {
        let missing = || CannotModel::NoConstants { device: device.name.clone(), what: "calibration file".to_owned() };
        let (own, own_confidence) = catalog.calibration_of(device).ok_or_else(missing)?;
        let typical = catalog.calibrations.iter().find(|calibration| calibration.device.is_none()).ok_or_else(missing)?;
        let of_lender = own.reference.bf16_flops / own.reference.memory_bytes_per_s;
        let balance = device.bf16_flops / device.memory_bytes_per_s / of_lender;
        let lost = if own_confidence == Confidence::Borrowed && balance.is_finite() { balance.clamp(0.0, 1.0) } else { 1.0 };
        Ok(Lookup { own, own_confidence, typical, engine, lost, confidence: own_confidence })
    }

    pub fn calibration(&self) -> &'a Calibration {
        self.own
    }

    /// The device with the rates it holds under steady load.
    pub fn sustained(&self, device: &Device) -> Device {
        let factor = self.own.sustained.as_ref().map_or(1.0, |sustained| sustained.compute.clamp(0.01, 1.0));
        let scaled = |rate: Option<f64>| rate.map(|rate| rate * factor);
        Device {
            bf16_flops: device.bf16_flops * factor,
            fp8_flops: scaled(device.fp8_flops),
            fp4_flops: scaled(device.fp4_flops),
            int8_flops: scaled(device.int8_flops),
            ..device.clone()
        }
    }

    /// A share of the peak as a borrowing device reaches it. What a kernel loses against the peak is time in which operands come and
    /// tiles start and end; that time is the lender's, and weighs less where multiplying takes longer: a chip with the lender's memory
    /// and a fraction of its peak (H20, GeForce cards) comes closer to it.
    pub fn eased(&self, share: f64) -> f64 {
        let share = share.clamp(0.01, 1.0);
        1.0 / (1.0 + (1.0 / share - 1.0) * self.lost)
    }

    /// This device's constants, its own engine's first; else typical ones.
    fn find<T>(
        &mut self,
        what: &str,
        rows: impl Fn(&'a Calibration) -> &'a [T],
        engine_of: impl Fn(&T) -> Engine + Copy,
        fits: impl Fn(&T) -> bool + Copy,
    ) -> Result<(&'a T, Confidence), CannotModel> {
        let (found, confidence) = match pick(rows(self.own), self.engine, engine_of, fits) {
            Some((row, confidence)) => (row, confidence.max(self.own_confidence)),
            None => match pick(rows(self.typical), self.engine, engine_of, fits) {
                Some((row, _)) => (row, Confidence::Datasheet),
                None => return Err(CannotModel::NoConstants { device: self.own.system.clone(), what: what.to_owned() }),
            },
        };
        self.confidence = self.confidence.max(confidence);
        Ok((found, confidence))
    }

    pub fn gemm(&mut self, arithmetic: &Arithmetic) -> Result<&'a GemmConstants, CannotModel> {
        if arithmetic.borrowed {
            self.confidence = self.confidence.max(Confidence::Borrowed);
        }
        let dtype = arithmetic.constants_of;
        self.find("matrix products", |c| &c.gemm, |row| row.engine, |row| row.dtype == dtype).map(|(row, _)| row)
    }

    pub fn decode_attention(&mut self, kv_dtype: Dtype) -> Result<&'a DecodeAttentionConstants, CannotModel> {
        let kv = self.kv_class(kv_dtype);
        self.find("decode attention", |c| &c.decode_attention, |row| row.engine, |row| row.kv_dtype == kv).map(|(row, _)| row)
    }

    pub fn prefill_attention(&mut self, kv_dtype: Dtype) -> Result<&'a PrefillAttentionConstants, CannotModel> {
        let kv = self.kv_class(kv_dtype);
        self.find("prefill attention", |c| &c.prefill_attention, |row| row.engine, |row| row.kv_dtype == kv).map(|(row, _)| row)
    }

    pub fn mla_decode(&mut self, kv_dtype: Dtype) -> Result<&'a MlaDecodeConstants, CannotModel> {
        let kv = self.kv_class(kv_dtype);
        self.find("latent attention", |c| &c.mla_decode, |row| row.engine, |row| row.kv_dtype == kv).map(|(row, _)| row)
    }

    pub fn mla_prefill(&mut self, kv_dtype: Dtype) -> Result<&'a MlaPrefillConstants, CannotModel> {
        let kv = self.kv_class(kv_dtype);
        self.find("latent attention", |c| &c.mla_prefill, |row| row.engine, |row| row.kv_dtype == kv).map(|(row, _)| row)
    }

    /// Expert kernels of the format; else those of bf16, whose weights are then read in the format's size.
    pub fn moe(&mut self, dtype: Dtype) -> Result<&'a MoeConstants, CannotModel> {
        let wanted = if dtype == Dtype::Fp16 { Dtype::Bf16 } else { dtype };
        let has = |calibration: &Calibration| calibration.moe.iter().any(|row| row.dtype == wanted);
        let format = if has(self.own) || has(self.typical) {
            wanted
        } else {
            self.confidence = self.confidence.max(Confidence::Borrowed);
            Dtype::Bf16
        };
        self.find("experts", |c| &c.moe, |row| row.engine, |row| row.dtype == format).map(|(row, _)| row)
    }

    /// Layers with a state: those of Kimi's kind by its kernels, all others by the gated delta net's, which for them is no more than typical.
    pub fn linear(&mut self, kind: LinearKind) -> Result<&'a LinearConstants, CannotModel> {
        let measured = if kind == LinearKind::KimiDelta { kind } else { LinearKind::GatedDeltaNet };
        if measured != kind {
            self.confidence = Confidence::Datasheet;
        }
        self.find("layers with linear attention", |c| &c.linear, |row| row.engine, |row| row.kind == measured).map(|(row, _)| row)
    }

    /// KV formats that were measured: 16 and 8 bit.
    fn kv_class(&mut self, kv_dtype: Dtype) -> Dtype {
        match kv_dtype {
            Dtype::Bf16 | Dtype::Fp16 => Dtype::Bf16,
            Dtype::Fp8 => Dtype::Fp8,
            _ => {
                self.confidence = self.confidence.max(Confidence::Borrowed);
                Dtype::Fp8
            }
        }
    }
}
