//! Surfaces: what colour a background or an object has at a position.

use super::shapes::P;
use fcos_core::Rng;

/// Red, green and blue in `[0, 1]`, as displayed (gamma-encoded).
pub(super) type Color = [f32; 3];

/// Two colours and how they alternate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texture {
    colors: [Color; 2],
    pattern: Pattern,
    /// Unit vector along which the pattern runs.
    direction: P,
    /// Length of one period, in pixels.
    period: f32,
}

#[derive(Debug, Clone, Copy)]
enum Pattern {
    Plain,
    Stripes,
    Checks,
    Gradient,
    Noise { seed: u64 },
}

impl Texture {
    /// A texture with any pattern in the two colours; the period is drawn from `periods` (pixels).
    pub(super) fn random(rng: &mut Rng, colors: [Color; 2], periods: [f32; 2]) -> Self {
        let pattern = match rng.below(5) {
            0 => Pattern::Plain,
            1 => Pattern::Stripes,
            2 => Pattern::Checks,
            3 => Pattern::Gradient,
            _ => Pattern::Noise {
                seed: rng.next_u64(),
            },
        };
        let (sin, cos) = rng.uniform(0.0, std::f32::consts::TAU).sin_cos();
        let period = rng.uniform(periods[0], periods[1]);
        Self {
            colors,
            pattern,
            direction: [cos, sin],
            period,
        }
    }

    /// The colour at `p`, in pixels from whichever origin the caller uses.
    pub(super) fn color(&self, [x, y]: P) -> Color {
        let [dx, dy] = self.direction;
        let along = (x * dx + y * dy) / self.period;
        let across = (y * dx - x * dy) / self.period;
        let t = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Stripes => stripe(along),
            Pattern::Checks => (stripe(along) - stripe(across)).abs(),
            Pattern::Gradient => (0.5 + along / 3.0).clamp(0.0, 1.0),
            Pattern::Noise { seed } => noise(seed, [along * 2.0, across * 2.0]),
        };
        blend(self.colors[0], self.colors[1], t)
    }
}

/// `a` at `t = 0`, `b` at `t = 1`.
pub(super) fn blend(a: Color, b: Color, t: f32) -> Color {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * t)
}

/// Euclidean distance of two colours; at most √3.
pub(super) fn contrast(a: Color, b: Color) -> f32 {
    (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>().sqrt()
}

/// A colour with every channel uniform in `range`.
pub(super) fn random_color(rng: &mut Rng, range: [f32; 2]) -> Color {
    std::array::from_fn(|_| rng.uniform(range[0], range[1]))
}

/// A colour of the given hue, in degrees, vivid enough to show it.
pub(super) fn hued_color(rng: &mut Rng, hue: f32) -> Color {
    let saturation = rng.uniform(0.5, 1.0);
    let value = rng.uniform(0.4, 1.0);
    // Red, green and blue follow the same curve of the hue, 120° apart.
    [5.0, 3.0, 1.0].map(|offset: f32| {
        let k = (offset + hue / 60.0).rem_euclid(6.0);
        value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}

/// A colour near `color`: every channel moves by up to `spread`.
pub(super) fn jitter(rng: &mut Rng, color: Color, spread: f32) -> Color {
    color.map(|c| (c + rng.uniform(-spread, spread)).clamp(0.0, 1.0))
}

/// 0 and 1 in turn, with soft edges.
fn stripe(t: f32) -> f32 {
    (0.5 + 3.0 * (t * std::f32::consts::TAU).sin()).clamp(0.0, 1.0)
}

/// Three octaves of value noise, in `[0, 1]`.
fn noise(seed: u64, [x, y]: P) -> f32 {
    let octave = |k: u64| value_noise(seed ^ k, [x * (1 << k) as f32, y * (1 << k) as f32]);
    (4.0 * octave(0) + 2.0 * octave(1) + octave(2)) / 7.0
}

/// Random values at the integer grid, smoothly interpolated.
fn value_noise(seed: u64, [x, y]: P) -> f32 {
    let corner = |i: i64, j: i64| Rng::from_key(&[seed, i as u64, j as u64]).unit();
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (i, j) = (x.floor() as i64, y.floor() as i64);
    let (u, v) = (smooth(x - x.floor()), smooth(y - y.floor()));
    let row = |j| corner(i, j) + (corner(i + 1, j) - corner(i, j)) * u;
    row(j) + (row(j + 1) - row(j)) * v
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_texture_stays_between_its_colors() {
        let mut rng = Rng::from_key(&[5, 0, 0]);
        for _ in 0..200 {
            let colors = [
                random_color(&mut rng, [0.0, 1.0]),
                random_color(&mut rng, [0.0, 1.0]),
            ];
            let texture = Texture::random(&mut rng, colors, [3.0, 30.0]);
            for _ in 0..100 {
                let color = texture.color([rng.uniform(-90.0, 300.0), rng.uniform(-90.0, 300.0)]);
                for c in 0..3 {
                    let (low, high) = (
                        colors[0][c].min(colors[1][c]),
                        colors[0][c].max(colors[1][c]),
                    );
                    assert!(
                        (low - 1e-5..=high + 1e-5).contains(&color[c]),
                        "{texture:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn noise_is_continuous_and_covers_its_range() {
        let mut rng = Rng::from_key(&[6, 0, 0]);
        let (mut low, mut high) = (1f32, 0f32);
        for _ in 0..20_000 {
            let p = [rng.uniform(-50.0, 50.0), rng.uniform(-50.0, 50.0)];
            let value = noise(9, p);
            let neighbour = noise(9, [p[0] + 1e-3, p[1] - 1e-3]);
            assert!((value - neighbour).abs() < 0.02, "{p:?}");
            (low, high) = (low.min(value), high.max(value));
        }
        assert!(low < 0.2 && high > 0.8, "{low}..{high}");
    }
}
