//! The losses of a step by name: what is differentiated is their sum, what is logged are they.

use std::iter;

use burn::tensor::Tensor;

/// The names of FCOS's own terms, everywhere that a term has a name: in logs, curves and errors.
pub mod term {
    /// The focal loss of the classes.
    pub const CLS: &str = "cls";
    /// The IoU-family loss of the boxes.
    pub const BBOX: &str = "bbox";
    /// The cross-entropy of centre-ness.
    pub const CENTERNESS: &str = "centerness";
}

/// One named loss.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// Its name: one of [`term`]'s, or your own.
    pub name: &'static str,
    /// Its value `[1]`, as it enters the sum: normalised and weighted.
    pub value: Tensor<1>,
}

impl LossTerm {
    fn new(name: &'static str, value: Tensor<1>) -> Self {
        let dims = value.dims();
        assert!(dims == [1], "the loss `{name}` is {dims:?}, not one number");
        Self { name, value }
    }
}

/// The terms of a loss in order, at least one.
///
/// A term of your own goes behind those of [`FcosLoss::forward`](crate::FcosLoss::forward), and is
/// then differentiated and read as they are:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fcos_loss::{LossTerms, term};
///
/// let device = Device::flex();
/// let value = |x: f32| Tensor::<1>::from_floats([x], &device);
/// let mut terms = LossTerms::new(term::CLS, value(0.5));
/// terms.push("mask", value(0.25));
/// assert_eq!(terms.total().into_scalar::<f32>(), 0.75);
/// assert_eq!(terms.iter().map(|term| term.name).collect::<Vec<_>>(), ["cls", "mask"]);
/// ```
#[derive(Debug, Clone)]
pub struct LossTerms {
    first: LossTerm,
    others: Vec<LossTerm>,
}

impl LossTerms {
    /// Of one term.
    ///
    /// # Panics
    /// Unless the value is `[1]`.
    pub fn new(name: &'static str, value: Tensor<1>) -> Self {
        Self {
            first: LossTerm::new(name, value),
            others: Vec::new(),
        }
    }

    /// Adds a term behind the others. If there is one of that name, the value is added to it: names
    /// stay distinct.
    ///
    /// # Panics
    /// Unless the value is `[1]`: a loss of several numbers is to be added up or averaged before.
    pub fn push(&mut self, name: &'static str, value: Tensor<1>) {
        let added = LossTerm::new(name, value);
        let mut terms = iter::once(&mut self.first).chain(&mut self.others);
        match terms.find(|term| term.name == name) {
            Some(term) => term.value = term.value.clone() + added.value,
            None => self.others.push(added),
        }
    }

    /// The terms in order.
    pub fn iter(&self) -> impl Iterator<Item = &LossTerm> {
        iter::once(&self.first).chain(&self.others)
    }

    /// A term's value.
    pub fn get(&self, name: &str) -> Option<&Tensor<1>> {
        let term = self.iter().find(|term| term.name == name);
        term.map(|term| &term.value)
    }

    /// The sum of all terms, added up in their order: what is differentiated.
    pub fn total(&self) -> Tensor<1> {
        let first = self.first.value.clone();
        let add = |sum, term: &LossTerm| sum + term.value.clone();
        self.others.iter().fold(first, add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn value(x: f32) -> Tensor<1> {
        Tensor::from_floats([x], &Device::flex())
    }

    fn numbers(terms: &LossTerms) -> Vec<(&'static str, f32)> {
        let number = |term: &LossTerm| (term.name, term.value.clone().into_scalar());
        terms.iter().map(number).collect()
    }

    #[test]
    fn terms_of_one_name_are_one_term() {
        let mut terms = LossTerms::new(term::CLS, value(1.0));
        for (name, x) in [("mask", 2.0), (term::CLS, 4.0), ("mask", 8.0)] {
            terms.push(name, value(x));
        }
        assert_eq!(numbers(&terms), [("cls", 5.0), ("mask", 10.0)]);
        assert_eq!(terms.total().into_scalar::<f32>(), 15.0);
    }

    #[test]
    #[should_panic(expected = "the loss `cls` is [2], not one number")]
    fn the_first_term_is_one_number() {
        let device = Device::flex();
        let _ = LossTerms::new(term::CLS, Tensor::from_floats([1.0, 2.0], &device));
    }

    #[test]
    #[should_panic(expected = "the loss `mask` is [2], not one number")]
    fn a_pushed_term_is_one_number() {
        let mut terms = LossTerms::new(term::CLS, value(1.0));
        terms.push("mask", Tensor::from_floats([1.0, 2.0], &Device::flex()));
    }

    #[test]
    fn a_term_is_found_by_its_name() {
        let mut terms = LossTerms::new(term::CLS, value(1.0));
        terms.push(term::BBOX, value(2.0));
        let number = |name| terms.get(name).map(|v| v.clone().into_scalar::<f32>());
        let found = ["cls", "bbox", "centerness"].map(number);
        assert_eq!(found, [Some(1.0), Some(2.0), None]);
    }

    /// In `f32`, `(1 + 2⁻²⁴) + 2⁻²⁴` is 1 and `1 + (2⁻²⁴ + 2⁻²⁴)` is not.
    #[test]
    fn the_total_is_added_up_in_order() {
        let small = 2f32.powi(-24);
        let mut terms = LossTerms::new(term::CLS, value(1.0));
        terms.push(term::BBOX, value(small));
        terms.push(term::CENTERNESS, value(small));
        assert_eq!(terms.total().into_scalar::<f32>(), 1.0);
    }
}
