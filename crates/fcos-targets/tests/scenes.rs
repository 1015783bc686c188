//! Small scenes worked by hand, as data: `testdata/assign/scenes.json`.

use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
use fcos_targets::{AssignConfig, Assigner};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    name: String,
    /// Width and height.
    input: [usize; 2],
    strides: Vec<usize>,
    #[serde(default)]
    rule: LocationRule,
    config: AssignConfig,
    boxes: Vec<BBox>,
    /// `[level, x, y, index of the box]` of every positive.
    positives: Vec<(usize, f32, f32, i32)>,
}

impl Scene {
    fn locations(&self) -> Locations {
        let [width, height] = self.input;
        Locations::new(Size { width, height }, &self.strides, self.rule)
    }

    /// The expected index of the box per location.
    fn expected(&self, locations: &Locations) -> Vec<i32> {
        let mut matched = vec![-1; locations.len()];
        for &(level, x, y, index) in &self.positives {
            let location = locations
                .level_range(level)
                .find(|&i| (locations.points()[i].x, locations.points()[i].y) == (x, y))
                .unwrap_or_else(|| panic!("{}: no location at ({x}, {y})", self.name));
            matched[location] = index;
        }
        matched
    }
}

#[test]
fn scenes_worked_by_hand() {
    let text = include_str!("../../../testdata/assign/scenes.json");
    let scenes: Vec<Scene> = serde_json::from_str(text).expect("scenes parse");
    for scene in scenes {
        let locations = scene.locations();
        let assigner =
            Assigner::new(&scene.config, &locations, DistanceUnit::Stride).expect("valid config");
        let labels: Vec<u32> = (0..scene.boxes.len() as u32).collect();
        let targets = assigner.assign(&scene.boxes, &labels).expect("valid boxes");
        assert_eq!(
            targets.matched,
            scene.expected(&locations),
            "{}",
            scene.name
        );
        assert_eq!(
            targets.num_positives(),
            scene.positives.len(),
            "{}",
            scene.name
        );
    }
}
