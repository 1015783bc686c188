//! Assignments of other implementations, from `testdata/assign/make_goldens.py`.

use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
use fcos_targets::{AreaRule, AssignConfig, Assigner, RangeBounds, Targets};
use serde::Deserialize;

const STRIDES: [usize; 5] = [8, 16, 32, 64, 128];

#[derive(Deserialize)]
struct Goldens {
    scenes: Vec<Scene>,
}

#[derive(Deserialize)]
struct Scene {
    /// Width and height.
    input: [usize; 2],
    boxes: Vec<BBox>,
    /// Centre sampling, if any.
    radius: Option<f32>,
    /// `[first location, length, index of the box]` of every run of positives.
    matched: Vec<(usize, usize, i32)>,
    /// `[location, l, t, r, b, centre-ness]`, distances in pixels.
    #[serde(default)]
    samples: Vec<(usize, f32, f32, f32, f32, f32)>,
}

impl Scene {
    fn locations(&self, rule: LocationRule) -> Locations {
        let [width, height] = self.input;
        Locations::new(Size { width, height }, &STRIDES, rule)
    }

    fn expected(&self, len: usize) -> Vec<i32> {
        let mut matched = vec![-1; len];
        for &(first, length, index) in &self.matched {
            matched[first..first + length].fill(index);
        }
        matched
    }

    fn assign(&self, rule: LocationRule, config: AssignConfig) -> Targets {
        let labels = vec![0; self.boxes.len()];
        Assigner::new(&config, &self.locations(rule), DistanceUnit::Pixels)
            .expect("valid config")
            .assign(&self.boxes, &labels)
            .expect("valid boxes")
    }

    fn agrees(&self, rule: LocationRule, config: AssignConfig) -> bool {
        let matched = self.assign(rule, config).matched;
        matched == self.expected(matched.len())
    }
}

fn scenes(json: &str) -> Vec<Scene> {
    let goldens: Goldens = serde_json::from_str(json).expect("goldens parse");
    assert_eq!(goldens.scenes.len(), 20);
    goldens.scenes
}

fn torchvision_scenes() -> Vec<Scene> {
    scenes(include_str!("../../../testdata/assign/torchvision.json"))
}

fn official_scenes() -> Vec<Scene> {
    scenes(include_str!("../../../testdata/assign/official.json"))
}

fn official(scene: &Scene) -> AssignConfig {
    AssignConfig {
        center_sampling_radius: scene.radius,
        area: AreaRule::LegacyPlusOne,
        ..AssignConfig::default()
    }
}

/// To the last location, including the finite limits of `f32` areas.
#[test]
fn torchvision_matcher() {
    for (i, scene) in torchvision_scenes().iter().enumerate() {
        let config = AssignConfig::torchvision(&STRIDES);
        assert!(scene.agrees(LocationRule::Torchvision, config), "scene {i}");
    }
}

#[test]
fn official_rule() {
    for (i, scene) in official_scenes().iter().enumerate() {
        let agrees = scene.agrees(LocationRule::HalfStride, official(scene));
        assert!(agrees, "scene {i}");
    }
}

#[test]
fn official_distances_and_centerness() {
    let mut samples = 0;
    for scene in official_scenes() {
        let targets = scene.assign(LocationRule::HalfStride, official(&scene));
        for &(n, l, t, r, b, centerness) in &scene.samples {
            assert_eq!(targets.ltrb[n].to_array(), [l, t, r, b]);
            assert!((targets.centerness[n] - centerness).abs() < 1e-6);
            samples += 1;
        }
    }
    assert!(samples > 200, "only {samples}");
}

/// Each of the rules decides some scene: with another one, the goldens are missed.
#[test]
fn goldens_tell_the_rules_apart() {
    let missed_by = |rule, change: fn(&mut AssignConfig)| {
        let mut config = AssignConfig::torchvision(&STRIDES);
        change(&mut config);
        let scenes = torchvision_scenes();
        scenes.iter().any(|s| !s.agrees(rule, config.clone()))
    };
    let torchvision = LocationRule::Torchvision;
    assert!(missed_by(LocationRule::HalfStride, |_| ()));
    assert!(missed_by(torchvision, |c| c.area = AreaRule::Continuous));
    assert!(missed_by(torchvision, |c| c.range_bounds = RangeBounds::Inclusive));
    assert!(missed_by(torchvision, |c| c.center_sampling_radius = None));
    let continuous = |scene: &Scene| AssignConfig {
        area: AreaRule::Continuous,
        ..official(scene)
    };
    let scenes = official_scenes();
    let misses = |s: &Scene| !s.agrees(LocationRule::HalfStride, continuous(s));
    assert!(scenes.iter().any(misses));
}
