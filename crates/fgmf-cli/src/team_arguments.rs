//! What can be typed behind `fgmf agents`.

use crate::radius::radius;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Trains a team, attacks it, and shows what its agents rest their actions on.
///
///     fgmf agents train --env overcooked:cramped_room --out team
///     fgmf agents attack team/actor.onnx --eps 0.1 --out team
///     fgmf agents explain team/actor.onnx --attack pgd-margin --out team
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Agents {
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List the environments, with agents, views and actions.
    List,
    /// Train a team with shared parameters; writes actor.onnx, actor-critic.onnx, run.json and
    /// log.jsonl.
    Train(TeamTrain),
    /// Play a policy: returns with intervals, beside random play.
    Evaluate(TeamEvaluate),
    /// Attack what agents see; writes agents-attack.json.
    Attack(TeamAttack),
    /// Show why a team acts as it does; writes strip.html and strip.json.
    Explain(TeamExplain),
}

/// Which policy plays where.
#[derive(Debug, Args)]
pub(crate) struct PlayInput {
    /// Policy (ONNX): one view in, one score an action out. All agents share it.
    pub(crate) model: PathBuf,
    /// Environment, as `fgmf agents list` names it [default: the one that the policy was trained
    /// in].
    #[arg(long)]
    pub(crate) env: Option<String>,
    /// Take the action of the largest score instead of drawing one.
    #[arg(long)]
    pub(crate) greedy: bool,
    /// Seed of the first episode.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TeamTrain {
    /// Environment, as `fgmf agents list` names it.
    #[arg(long)]
    pub(crate) env: String,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Steps of the environment in all, such as 2e6.
    #[arg(long, default_value = "2e6")]
    pub(crate) steps: f64,
    /// Network: conv (two 3x3 convolutions and a dense layer) or dense (two dense layers).
    #[arg(long, default_value = "conv")]
    pub(crate) network: String,
    /// Environments side by side.
    #[arg(long)]
    pub(crate) lanes: Option<usize>,
    /// Steps of each between two updates.
    #[arg(long)]
    pub(crate) length: Option<usize>,
    /// Learning rate at the start.
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Weight of the entropy.
    #[arg(long)]
    pub(crate) entropy: Option<f64>,
    /// Seed of everything.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TeamEvaluate {
    #[command(flatten)]
    pub(crate) play: PlayInput,
    /// Episodes.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) episodes: usize,
}

#[derive(Debug, Args)]
pub(crate) struct TeamAttack {
    #[command(flatten)]
    pub(crate) play: PlayInput,
    /// Attacks, by comma: noise, pgd-kl, pgd-margin.
    #[arg(long, value_delimiter = ',', default_value = "noise,pgd-kl,pgd-margin")]
    pub(crate) attacks: Vec<String>,
    /// Radius: a share of each plane's range, such as 0.1.
    #[arg(long, default_value = "0.1", value_parser = radius)]
    pub(crate) eps: f64,
    /// Norm of the ball: linf, l2 or l1.
    #[arg(long, default_value = "linf")]
    pub(crate) norm: String,
    /// How many agents are attacked at once; the attack takes those whom it hurts most.
    #[arg(long, default_value_t = 1)]
    pub(crate) agents: usize,
    /// Episodes.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) episodes: usize,
    /// Folder for agents-attack.json.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Exit 1 if the worst normalised return is below this.
    #[arg(long)]
    pub(crate) min_return: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct TeamExplain {
    #[command(flatten)]
    pub(crate) play: PlayInput,
    /// Show the same episode under this attack as well: noise, pgd-kl, pgd-margin.
    #[arg(long)]
    pub(crate) attack: Option<String>,
    /// Radius of the attack.
    #[arg(long, default_value = "0.1", value_parser = radius)]
    pub(crate) eps: f64,
    /// Agents that are attacked, by comma [default: all].
    #[arg(long, value_delimiter = ',')]
    pub(crate) victims: Option<Vec<usize>>,
    /// Moments.
    #[arg(long, default_value_t = 8)]
    pub(crate) frames: usize,
    /// Measure as well how the return falls when the objects named are erased, over this many
    /// episodes.
    #[arg(long, value_name = "EPISODES")]
    pub(crate) deletion: Option<usize>,
    /// Folder for strip.html and strip.json.
    #[arg(long)]
    pub(crate) out: PathBuf,
}
