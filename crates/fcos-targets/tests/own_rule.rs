//! Rules of the user's own: they assign as those of this crate do, and what is wrong with one is said.
//!
//! N locations, G boxes.

use std::ops::Range;

use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
use fcos_targets::{
    AssignConfig, AssignError, AssignRule, Assigner, Assigners, AtssConfig, AtssRule, Candidate,
    FcosRule, Rule, Tally,
};

fn locations() -> Locations {
    let input = Size {
        width: 160,
        height: 96,
    };
    Locations::new(input, &[8, 16, 32, 64, 128], LocationRule::HalfStride)
}

fn boxes() -> Vec<BBox> {
    let mut rng = fcos_core::Rng::from_key(&[3]);
    let mut draw = |low, high| rng.uniform(low, high);
    (0..40)
        .map(|_| {
            BBox::from_xywh([
                draw(-10.0, 140.0),
                draw(-10.0, 80.0),
                draw(4.0, 90.0),
                draw(4.0, 90.0),
            ])
        })
        .collect()
}

/// Behind the pointer, every number stays what it is.
#[test]
fn a_rule_of_ones_own_assigns_as_a_configured_one() {
    let (locations, boxes) = (locations(), boxes());
    let labels: Vec<u32> = (0..boxes.len() as u32).collect();
    for unit in [DistanceUnit::Pixels, DistanceUnit::Stride] {
        let fcos = AssignConfig::default();
        let own = FcosRule::new(&fcos, &locations).expect("valid");
        let own = Assigner::with_rule(own, &locations, unit).expect("the same levels");
        let configured = Assigner::new(&fcos, &locations, unit).expect("valid");
        let targets = own.assign(&boxes, &labels).expect("valid");
        assert!(targets.num_positives() > 20);
        assert_eq!(Ok(targets), configured.assign(&boxes, &labels));

        let atss = AssignConfig {
            rule: AssignRule::Atss,
            ..AssignConfig::default()
        };
        let own = Assigners::with_rule(|l| Ok(AtssRule::new(AtssConfig::default(), l)?));
        let own = own.make(&locations, unit).expect("the same levels");
        let configured = Assigners::from(atss).make(&locations, unit).expect("valid");
        let targets = own.assign(&boxes, &labels).expect("valid");
        assert_eq!(Ok(targets), configured.assign(&boxes, &labels));
        let tally = Tally::default().image(&own, &boxes, &labels);
        assert_eq!(tally, Tally::default().image(&configured, &boxes, &labels));
    }
}

/// Visits one candidate, whatever there is.
struct Single {
    levels: Vec<Range<usize>>,
    candidate: Candidate,
}

impl Rule for Single {
    fn levels(&self) -> &[Range<usize>] {
        &self.levels
    }

    fn candidates(&self, _: &[BBox], mut visit: impl FnMut(Candidate)) {
        visit(self.candidate);
    }
}

fn single(slot: usize, index: usize) -> Single {
    let candidate = Candidate {
        slot,
        index,
        rank: 0.0,
    };
    let levels = locations().level_ranges();
    Single { levels, candidate }
}

#[test]
fn wrong_candidates_are_errors() {
    let (locations, n) = (locations(), locations().len());
    let everywhere = [BBox::new(-1.0, -1.0, 999.0, 999.0); 2];
    let assign = |rule, boxes: &[BBox]| {
        let assigner = Assigner::with_rule(rule, &locations, DistanceUnit::Stride);
        let assigner = assigner.expect("its levels fit");
        let mut tally = Tally::default();
        let counted = tally.image(&assigner, boxes, &[0, 1]).map(|_| ());
        // What was counted of a wrong rule is not left for the next image.
        let clean = tally.image(&single(0, 1), &everywhere, &[0, 1]);
        assert_eq!(clean.expect("sound").per_box, [0, 1]);
        (assigner.assign(boxes, &[0, 1]).map(|_| ()), counted)
    };
    assert_eq!(assign(single(n - 1, 1), &everywhere), (Ok(()), Ok(())));
    for (slot, index) in [(n, 0), (usize::MAX, 0), (0, 2), (0, usize::MAX)] {
        let error = Err(AssignError::Candidate {
            candidate: single(slot, index).candidate,
            slots: n,
            boxes: 2,
        });
        assert_eq!(
            assign(single(slot, index), &everywhere),
            (error.clone(), error)
        );
    }
    let far = BBox::new(100.0, 50.0, 120.0, 60.0);
    let outside = AssignError::OutsideBox {
        location: 0,
        index: 1,
        bbox: far,
    };
    assert_eq!(assign(single(0, 1), &[far; 2]).0, Err(outside));
}

#[test]
fn slots_have_to_be_the_locations() {
    let (locations, n) = (locations(), locations().len());
    let mut anchors = single(0, 0);
    anchors.levels = anchors
        .levels
        .iter()
        .map(|l| 9 * l.start..9 * l.end)
        .collect();
    let mut joined = single(0, 0);
    joined.levels.truncate(1);
    joined.levels[0].end = n;
    for rule in [anchors, joined] {
        let found = rule.levels.clone();
        let expected = locations.level_ranges();
        let result = Assigner::with_rule(rule, &locations, DistanceUnit::Stride);
        let error = AssignError::RuleLevels { expected, found };
        assert_eq!(result.map(|_| ()), Err(error));
    }
}

/// Both are said by what makes the assigner: the unit of older settings, and a rule's own error.
#[test]
fn settings_are_checked_when_an_assigner_is_made() {
    let named = AssignConfig {
        distance_unit: Some(DistanceUnit::Pixels),
        ..AssignConfig::default()
    };
    let no_candidates = |l: &Locations| {
        let config = AtssConfig {
            k: 0,
            ..AtssConfig::default()
        };
        Ok(AtssRule::new(config, l)?)
    };
    for (assigners, what) in [
        (Assigners::new(named), "distance_unit is pixels"),
        (Assigners::with_rule(no_candidates), "k is 0"),
    ] {
        let made = assigners.make(&locations(), DistanceUnit::Stride);
        let error = made.map(|_| ()).expect_err(what).to_string();
        assert!(error.starts_with(what), "{error}");
    }
}

#[test]
fn rules_have_names() {
    assert_eq!("atss".parse(), Ok(AssignRule::Atss));
    assert_eq!(AssignRule::Fcos.to_string(), "fcos");
    let error = "nearest"
        .parse::<AssignRule>()
        .expect_err("no rule")
        .to_string();
    assert!(error.contains("`fcos` or `atss`"), "{error}");
}
