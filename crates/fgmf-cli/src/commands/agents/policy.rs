//! The policy of a command, and where it plays.

use crate::team_arguments::PlayInput;
use anyhow::Result;
use fgmf::Error;
use fgmf::agent::{ActionDraw, Environment, PlaySettings, environment};
use fgmf::store::read_model;
use fgmf_net::Session;
use fgmf_record::ModelFile;

/// A policy and its environment.
pub(super) struct Policy {
    pub(super) net: Session,
    pub(super) file: ModelFile,
    pub(super) env: String,
    draw: ActionDraw,
    seed: u64,
}

impl Policy {
    pub(super) fn read(input: &PlayInput) -> Result<Self> {
        let (net, sha256) = read_model(&input.model)?;
        let stated = net.metadata.get("fgmf.env").cloned();
        let missing = || {
            let expected = "an environment, because the policy does not say where it was trained";
            Error::parameter("env", expected, "none")
        };
        let env = input.env.clone().or(stated).ok_or_else(missing)?;
        environment(&env)?;
        Ok(Self {
            net: Session::new(net),
            file: ModelFile {
                file: input.model.display().to_string(),
                sha256,
                preprocessing: None,
                output: None,
                input_size: None,
            },
            env,
            draw: if input.greedy {
                ActionDraw::Greedy
            } else {
                ActionDraw::Sampled
            },
            seed: input.seed,
        })
    }

    pub(super) fn make(&self) -> impl Fn() -> fgmf::Result<Box<dyn Environment>> + Sync {
        || environment(&self.env)
    }

    pub(super) fn settings(&self, episodes: usize) -> PlaySettings {
        PlaySettings {
            episodes,
            first_seed: self.seed,
            draw: self.draw,
        }
    }
}
