//! The published FCOS implementations by name: network, preprocessing, locations and postprocessing
//! of each. What they train with has presets of its own, in `fcos-train`; no name stands for both.

mod networks;
mod recipes;

use fcos_core::ClassList;

use crate::DetectorConfig;
use crate::backbone::resnet::Arch;
use crate::config::{ConfigError, FcosConfig};
use recipes::{RECIPES, Recipe};

/// The name that sfzhang15/ATSS's two ways to predict boxes once shared with a training preset,
/// which is neither.
const AMBIGUOUS: &str = "atss";

/// The recipe and the backbone that a preset's name says, if it says one.
fn find(name: &str) -> Result<(&'static Recipe, Option<Arch>), ConfigError> {
    let found = RECIPES
        .iter()
        .find_map(|recipe| Some((recipe, backbone_after(recipe.name, name)?)));
    if found.is_none() && backbone_after(AMBIGUOUS, name).is_some() {
        return Err(ConfigError::RenamedPreset {
            name: name.into(),
            instead: "\"atss-anchor\", where boxes are an anchor's offsets, or \"atss-point\", where \
                      they are distances from a point",
        });
    }
    found.ok_or_else(|| ConfigError::UnknownPreset {
        name: name.into(),
        recipes: RECIPES.each_ref().map(|recipe| recipe.name).join(", "),
        backbones: Arch::ALL.map(Arch::name).join(", "),
    })
}

/// The backbone that follows a recipe's name in a preset's, if it is that recipe's: none, if nothing
/// follows.
fn backbone_after(recipe: &str, preset: &str) -> Option<Option<Arch>> {
    match preset.strip_prefix(recipe)? {
        "" => Some(None),
        rest => rest.strip_prefix('-')?.parse().ok().map(Some),
    }
}

/// The recipe in a preset's name.
pub(crate) fn recipe(name: &str) -> Result<&'static str, ConfigError> {
    find(name).map(|(recipe, _)| recipe.name)
}

impl DetectorConfig {
    /// Everything of the preset `<recipe>-<backbone>`, such as `official-imprv-r50` or
    /// `adelaidet-x101-32x8d`, with COCO's classes. The backbone may be left out: it is then
    /// `r50`.
    ///
    /// # Errors
    /// If there is no such preset.
    ///
    /// ```
    /// let detector = fcos_model::DetectorConfig::preset("torchvision")?;
    /// assert_eq!(detector.classes.name(18), "dog");
    /// # Ok::<(), fcos_model::ConfigError>(())
    /// ```
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let (_, arch) = find(name)?;
        Self::preset_on(name, arch.unwrap_or_default())
    }

    /// The names that [`preset`](Self::preset) takes, without backbones.
    pub fn recipe_names() -> impl Iterator<Item = &'static str> {
        RECIPES.iter().map(|recipe| recipe.name)
    }

    /// As [`preset`](Self::preset), on the backbone that a file was found to have.
    ///
    /// # Errors
    /// If there is no such preset, or its name says another backbone.
    pub fn preset_on(name: &str, arch: Arch) -> Result<Self, ConfigError> {
        let (recipe, named) = find(name)?;
        if let Some(named) = named.filter(|&named| named != arch) {
            return Err(ConfigError::OtherBackbone {
                preset: name.into(),
                named: named.name(),
                found: arch.name(),
            });
        }
        let model = (recipe.model)(arch);
        let classes = ClassList::coco(model.num_classes);
        Ok(Self {
            preprocess: (recipe.preprocess)(arch),
            location_rule: recipe.location_rule,
            postprocess: (recipe.postprocess)(),
            ..Self::new(model, classes)
        })
    }
}

impl FcosConfig {
    /// The network of the preset `<recipe>-<backbone>`; see [`DetectorConfig::preset`].
    ///
    /// # Errors
    /// If there is no such preset.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let (recipe, arch) = find(name)?;
        Ok((recipe.model)(arch.unwrap_or_default()))
    }

    /// The names of the presets that somebody published. [`preset`](Self::preset) takes every other
    /// backbone after a recipe's name too.
    pub fn preset_names() -> impl Iterator<Item = String> {
        let of = |recipe: &'static Recipe| {
            let archs = recipe.backbones.iter();
            archs.map(|arch| format!("{}-{arch}", recipe.name))
        };
        RECIPES.iter().flat_map(of)
    }
}
