//! The list of class names, and COCO's.

use serde::{Deserialize, Serialize};

/// The class names, by label: label `i` (0-based, contiguous, without a background class) is
/// called `names[i]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ClassList(Vec<String>);

/// Why a list of names can't serve as a [`ClassList`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassListError {
    /// There is no name at all.
    #[error("a class list needs at least one name")]
    Empty,
    /// One name stands for two labels.
    #[error("class name {name:?} stands twice, for labels {first} and {second}")]
    Duplicate {
        /// The name.
        name: String,
        /// The label that had it first.
        first: usize,
        /// The label that has it again.
        second: usize,
    },
}

impl ClassList {
    /// Names in label order.
    ///
    /// # Errors
    /// If there is no name, or one stands twice.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, ClassListError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(ClassListError::Empty);
        }
        for (second, name) in names.iter().enumerate() {
            if let Some(first) = names[..second].iter().position(|n| n == name) {
                return Err(ClassListError::Duplicate {
                    name: name.clone(),
                    first,
                    second,
                });
            }
        }
        Ok(Self(names))
    }

    /// `class_0 … class_{n−1}`, for models whose names nobody knows; at least one.
    pub fn numbered(n: usize) -> Self {
        Self((0..n.max(1)).map(|i| format!("class_{i}")).collect())
    }

    /// COCO's 80 classes in the order of their category ids.
    pub fn coco80() -> Self {
        Self(COCO_80.split(',').map(String::from).collect())
    }

    /// The 91 outputs of torchvision's detectors, which are COCO's category ids: the 80 names at
    /// [`COCO_CATEGORY_IDS`], and `unused_<id>` (11 of them, with 0) between.
    pub fn coco91() -> Self {
        let mut names = Self((0..91).map(|id| format!("unused_{id}")).collect());
        for (name, id) in COCO_80.split(',').zip(COCO_CATEGORY_IDS) {
            names.0[id] = name.to_owned();
        }
        names
    }

    /// The names of so many outputs, where COCO's number tells: [`coco80`](Self::coco80),
    /// [`coco91`](Self::coco91), else [`numbered`](Self::numbered).
    pub fn coco(n: usize) -> Self {
        match n {
            80 => Self::coco80(),
            91 => Self::coco91(),
            n => Self::numbered(n),
        }
    }

    /// The category id of each label, as far as the names tell:
    /// [`COCO_CATEGORY_IDS`] for [`coco80`](Self::coco80), 0, 1, … for [`coco91`](Self::coco91),
    /// and 1, 2, … for all other names.
    pub fn category_ids(&self) -> Vec<u64> {
        if *self == Self::coco80() {
            return COCO_CATEGORY_IDS.map(|id| id as u64).to_vec();
        }
        let first = u64::from(*self != Self::coco91());
        (first..).take(self.len()).collect()
    }

    /// Number of classes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a class list is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of a label, `"?"` for a label beyond the list.
    pub fn name(&self, label: u32) -> &str {
        self.0.get(label as usize).map_or("?", String::as_str)
    }

    /// The names in label order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + '_ {
        self.0.iter().map(String::as_str)
    }
}

impl TryFrom<Vec<String>> for ClassList {
    type Error = ClassListError;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        Self::new(names)
    }
}

impl From<ClassList> for Vec<String> {
    fn from(list: ClassList) -> Self {
        list.0
    }
}

/// The category ids of COCO's 80 classes, ascending.
pub const COCO_CATEGORY_IDS: [usize; 80] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28,
    31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55,
    56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 67, 70, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 84,
    85, 86, 87, 88, 89, 90,
];

const COCO_80: &str = "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,\
fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,\
giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,\
baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,\
spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,\
potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,\
toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coco_has_eighty() {
        let coco = ClassList::coco80();
        assert_eq!(coco.len(), 80);
        assert_eq!(
            (coco.name(0), coco.name(11), coco.name(79)),
            ("person", "stop sign", "toothbrush")
        );
        assert_eq!(ClassList::new(coco.iter()), Ok(coco.clone()));
    }

    #[test]
    fn names_and_errors() {
        let list = ClassList::new(["cat", "dog"]).expect("valid");
        assert_eq!((list.name(1), list.name(2)), ("dog", "?"));
        assert_eq!(
            ClassList::new(Vec::<String>::new()),
            Err(ClassListError::Empty)
        );
        let twice = ClassListError::Duplicate {
            name: "a".into(),
            first: 0,
            second: 2,
        };
        assert_eq!(ClassList::new(["a", "b", "a"]), Err(twice));
        assert_eq!(
            ClassList::numbered(2).iter().collect::<Vec<_>>(),
            ["class_0", "class_1"]
        );
    }

    #[test]
    fn names_tell_category_ids() {
        let ids = ClassList::coco80().category_ids();
        assert_eq!((ids.len(), ids[11], ids[79]), (80, 13, 90));
        assert_eq!(
            ClassList::coco91().category_ids(),
            (0..91).collect::<Vec<_>>()
        );
        let names = ClassList::numbered(80);
        assert_eq!(names.category_ids(), (1..=80).collect::<Vec<_>>());
    }

    #[test]
    fn json_is_checked() {
        let list: ClassList = serde_json::from_str(r#"["x","y"]"#).expect("valid");
        assert_eq!(list.len(), 2);
        assert!(serde_json::from_str::<ClassList>(r#"["x","x"]"#).is_err());
    }
}
