//! Looking at files without importing them.

use super::Store;
use crate::error::Result;
use crate::map::Chain;
use crate::request::{Access, CheckReport, ImageInfo, SourceFile};

impl Store {
    /// What a file is, without importing it. Its backing images are opened too: an image that cannot be imported is an
    /// error here as well.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its plugin.
    pub fn info(&self, access: Access<'_>, file: &SourceFile) -> Result<ImageInfo> {
        let mut chain = Chain::open(access, self, &self.limits, file)?;
        let (source, _) = chain.records();
        let facts = chain.facts()?;
        Ok(ImageInfo { source, geometry: chain.geometry(), facts, references: chain.references().to_vec() })
    }

    /// What the format's plugin finds inconsistent in a file.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its plugin.
    pub fn check(&self, access: Access<'_>, file: &SourceFile) -> Result<CheckReport> {
        let mut chain = Chain::open(access, self, &self.limits, file)?;
        let findings = chain.check()?;
        chain.verify_unchanged()?;
        let (source, _) = chain.records();
        Ok(CheckReport { source, findings })
    }
}
