//! Compiling a loop once per vector instruction set and picking the best at run time.
//!
//! A build for plain x86-64 may use only 128-bit vectors. [`vectorize!`] compiles the same safe
//! body again with AVX2 and with AVX-512 enabled, so that the compiler's own vectoriser does the
//! work; there are no hand-written intrinsics.

/// The vector instruction sets told apart here, from narrow to wide.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every x86-64 processor has.
    Baseline,
    /// AVX2 and FMA (x86-64-v3).
    V3,
    /// AVX-512 F, BW, DQ and VL (x86-64-v4).
    V4,
}

/// The widest instruction set of this processor.
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    let v3 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let v4 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (v3, v4) {
        (true, true) => Level::V4,
        (true, false) => Level::V3,
        _ => Level::Baseline,
    }
}

/// Defines a function whose body is compiled for every [`Level`] and dispatched at run time.
///
/// Everything hot that the body calls must be `#[inline(always)]`, or it is compiled for the
/// baseline only; closures cannot be, so hot code does without (`std::array::from_fn` and the like). The arithmetic is the same at every level: Rust never contracts `a * b + c`.
macro_rules! vectorize {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        // The only unsafe step is calling a function compiled for an instruction set right after
        // the processor was asked whether it has it.
        #[allow(unsafe_code)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn v4($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn v3($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }

                match $crate::cpu::simd::level() {
                    // SAFETY: `level` has just reported these instruction sets as present.
                    $crate::cpu::simd::Level::V4 => unsafe { v4($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::simd::Level::V3 => unsafe { v3($($arg),*) },
                    $crate::cpu::simd::Level::Baseline => body($($arg),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            body($($arg),*)
        }
    };
}
pub(crate) use vectorize;

/// Number of values in [`Lanes`].
pub(crate) const LANES: usize = 8;

/// Eight neighbouring values that go through the same arithmetic: one AVX register, or two halves.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Lanes([f32; LANES]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);

    /// The first [`LANES`] values of `values`.
    #[inline(always)]
    pub(crate) fn load(values: &[f32]) -> Self {
        let mut lanes = [0.0; LANES];
        lanes.copy_from_slice(&values[..LANES]);
        Self(lanes)
    }

    /// Every `step`-th value of `values`, from the first.
    #[inline(always)]
    pub(crate) fn gather(values: &[f32], step: usize) -> Self {
        let values = &values[..(LANES - 1) * step + 1];
        let mut lanes = [0.0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = values[i * step];
        }
        Self(lanes)
    }

    #[inline(always)]
    pub(crate) fn store(self, values: &mut [f32]) {
        values[..LANES].copy_from_slice(&self.0);
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [f32; LANES] {
        self.0
    }
}

impl std::ops::Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for i in 0..LANES {
            self.0[i] += other.0[i];
        }
        self
    }
}

impl std::ops::Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        for i in 0..LANES {
            self.0[i] -= other.0[i];
        }
        self
    }
}

impl std::ops::Mul<f32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(mut self, factor: f32) -> Self {
        for i in 0..LANES {
            self.0[i] *= factor;
        }
        self
    }
}
