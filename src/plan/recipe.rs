//! A list of steps that is built from top to bottom.

/// The steps so far, of the host or of init.
pub struct Recipe<Step>(pub Vec<Step>);

impl<Step> Default for Recipe<Step> {
    fn default() -> Self {
        Recipe(Vec::new())
    }
}

impl<Step> Recipe<Step> {
    /// Adds a step.
    pub fn add(&mut self, step: impl Into<Step>) {
        self.push(step.into());
    }

    /// Adds a step if the condition holds.
    pub fn add_if(&mut self, wanted: bool, step: impl Into<Step>) {
        if wanted {
            self.push(step.into());
        }
    }

    /// Adds a step if it is `Some`.
    pub fn add_some(&mut self, step: Option<impl Into<Step>>) {
        if let Some(step) = step {
            self.push(step.into());
        }
    }

    /// Out of line, because steps are added in many places, which should stay small.
    #[inline(never)]
    fn push(&mut self, step: Step) {
        self.0.push(step);
    }
}
