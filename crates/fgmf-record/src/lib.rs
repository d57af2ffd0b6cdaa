//! Plain data of runs: what was done, on what, and what came out. No tensors, and no behaviour
//! beyond arithmetic on counts. Every other crate may read records; this one knows none of them.

mod attack;
mod audit;
mod bracket;
mod calibration;
mod certify;
mod doubt;
mod evaluation;
mod gallery;
pub mod hash;
mod leakage;
mod map;
mod mean;
mod norm;
mod passes;
mod prediction;
mod preprocessing;
mod proportion;
mod report;
mod run;
mod scene;
mod team;
mod training;
mod words;

pub use attack::{
    Accuracy, AttackRecord, AttackRow, CurvePoint, ExampleRecord, FlagRecord, QueryRecord,
    RobustAccuracy, VerdictRecord,
};
pub use audit::{
    AuditAttack, AuditCheck, AuditComparison, AuditExample, AuditFigure, AuditRecord,
    CalibrationBin, Coverage, CoverageItem, FigureDifference, GraphFacts, PairedCounts,
    PolicyRecord, ResilienceRow, RobustnessRow, ShiftRow, ThresholdRecord,
};
pub use bracket::{BracketImage, BracketPicture, BracketRecord};
pub use calibration::{CalibrationPair, MapCalibrationRecord, PromiseRecord};
pub use certify::{
    CertifiedImage, CertifiedPicture, CertifyRecord, MaskSetRecord, PatchAttackRecord,
    PatchThreatRecord, PatchedImage, Rectangle, Refutation,
};
pub use doubt::{doubt_rules, doubts};
pub use evaluation::{
    CriteriaRow, EvaluationRecord, ExplainerTest, FigureRow, InputRecord, InputTest, NothingFound,
    PairedDifference, PairedTest,
};
pub use gallery::{GalleryRecord, ImageRecord, MapFacts, MapPicture, ViewPictures, ViewRecord};
pub use leakage::{BlindRow, GuidedRow, LeakageForm, LeakageImage, LeakageRecord, QueryRatio};
pub use map::MapRecord;
pub use mean::mean_interval;
pub use passes::Passes;
pub use prediction::{PredictionRecord, PredictionRow, ScoredClass};
pub use preprocessing::Preprocessing;
pub use proportion::Proportion;
pub use report::{CaseRecord, CaseView, Figure, MeanRecord, ModelRecord, ReportRecord};
pub use run::{BuildRecord, DataRecord, MachineRecord, MethodRecord, ModelFile, ThreatRecord};
pub use scene::{AgentRecord, SceneRecord, ThingRecord};
pub use team::{
    AgentFrame, DeletionRecord, EpisodePlayed, PlayedRecord, ReturnFigure, StripFrame, StripRecord,
    StripRow, TeamAttackRecord, WorldMap,
};
pub use training::{EpochRecord, MonitorRecord, ValidationRecord};
pub use words::{
    CheckOutcome, Direction, Family, IntervalKind, Level, Need, Norm, Proof, Split, UnknownWord,
};
