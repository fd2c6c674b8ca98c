//! A list of steps while it is put together: it reads from top to bottom.

/// The steps so far, of either process.
pub struct Recipe<Step>(pub Vec<Step>);

impl<Step> Default for Recipe<Step> {
    fn default() -> Self {
        Recipe(Vec::new())
    }
}

impl<Step> Recipe<Step> {
    /// Adds a step.
    #[inline(never)]
    pub fn add(&mut self, step: Step) {
        self.0.push(step);
    }

    /// Adds a step if it is wanted.
    pub fn add_if(&mut self, wanted: bool, step: Step) {
        if wanted {
            self.add(step);
        }
    }

    /// Adds a step if there is one.
    pub fn add_some(&mut self, step: Option<Step>) {
        if let Some(step) = step {
            self.add(step);
        }
    }
}
