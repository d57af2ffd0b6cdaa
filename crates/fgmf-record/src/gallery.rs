//! Records of a gallery: maps of several explainers on the same images, clean and attacked.

use crate::evaluation::FigureRow;
use crate::map::MapRecord;
use crate::run::{DataRecord, MethodRecord, ModelFile, ThreatRecord, unnamed_class};
use serde::{Deserialize, Serialize};

/// `gallery.json`: everything that is written on the pages, and nothing that is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GalleryRecord {
    /// Version of the tool.
    pub version: String,
    /// Model.
    pub model: ModelFile,
    /// Data set, unless the images are single files.
    pub data: Option<DataRecord>,
    /// Threat, if there is an attacked input.
    pub threat: Option<ThreatRecord>,
    /// Seed.
    pub seed: u64,
    /// Inputs, the clean one first: its name, and what made it.
    pub inputs: Vec<MethodRecord>,
    /// Explainers.
    pub explainers: Vec<MethodRecord>,
    /// Metrics.
    pub metrics: Vec<MethodRecord>,
    /// Every figure of every explainer and input; values in the order of the images.
    pub rows: Vec<FigureRow>,
    /// Images.
    pub images: Vec<ImageRecord>,
    /// The model's own class names, by label; empty where it carries none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Files that could not be read, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What is promised of the maps that are shown; absent without a calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<String>,
}

impl GalleryRecord {
    /// The name of a class: the model's own, else that of the data, else its number.
    pub fn class_name(&self, label: usize) -> String {
        let own = self.classes.get(label).cloned();
        let data = || self.data.as_ref().map(|d| d.class_name(label));
        own.or_else(data).unwrap_or_else(|| unnamed_class(label))
    }
}

/// One image of a gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Path as given, or position in the data set.
    pub name: String,
    /// Begin of the names of its files.
    pub stem: String,
    /// True class, where it is known.
    pub truth: Option<usize>,
    /// One entry an input.
    pub views: Vec<ViewRecord>,
}

/// What a model says of an image in one of its forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// Class predicted.
    pub predicted: usize,
    /// Its probability.
    pub probability: f64,
    /// Class explained.
    pub explained: usize,
    /// One entry an explainer.
    pub maps: Vec<MapFacts>,
}

/// What is known of a map besides its values and figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapFacts {
    /// Value of the graph that was looked at, if one was.
    pub layer: Option<String>,
    /// What a reader should know although the map can be shown.
    pub note: Option<String>,
    /// Why the method withholds the map: an operator should not be shown it.
    pub withheld: Option<String>,
    /// Reasons not to believe it.
    pub doubts: Vec<String>,
}

impl MapFacts {
    /// What stands against relying on the map, in the words that every page, table and line uses:
    /// `withheld: …`, then `in doubt: …`.
    pub fn marks(&self) -> Vec<String> {
        let withheld = self.withheld.iter().map(|why| format!("withheld: {why}"));
        let doubts = self.doubts.iter().map(|why| format!("in doubt: {why}"));
        withheld.chain(doubts).collect()
    }
}

/// The pictures of an image, one entry an input.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewPictures {
    /// The image in this form.
    pub image: MapRecord,
    /// One entry an explainer.
    pub maps: Vec<MapPicture>,
}

/// A map to be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct MapPicture {
    /// 1 x h x w, the size of the image.
    pub values: MapRecord,
    /// Whether values below zero speak against the class; if not, values lie in `[0, 1]`.
    pub signed: bool,
    /// First less second part of a method that has two, each on its common scale: −1 to 1.
    pub disagreement: Option<MapRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Direction, Norm, Split};

    /// Words are enums in code and the strings of before in the file; names and order of the keys
    /// stay as well.
    #[test]
    fn a_gallery_is_written_as_it_always_was() {
        let method = MethodRecord {
            id: "pgca".into(),
            parameters: serde_json::json!({}),
        };
        let record = GalleryRecord {
            version: "0.1.0".into(),
            model: ModelFile {
                file: "net.onnx".into(),
                sha256: "ab".into(),
                preprocessing: None,
                output: None,
                input_size: None,
            },
            data: Some(DataRecord {
                chosen: None,
                left_out: vec![],
                name: "d".into(),
                split: Split::Test,
                n: 1,
                sha256: "cd".into(),
                classes: vec!["boot".into()],
            }),
            threat: Some(ThreatRecord {
                norm: Norm::Linf,
                eps: 0.5,
                bounds: [0.0, 1.0],
            }),
            seed: 0,
            inputs: vec![],
            explainers: vec![method],
            metrics: vec![],
            rows: vec![FigureRow::new(
                ["pgca", "pgca", "agreement", "clean"],
                Direction::Higher,
                vec![Some(0.5), None],
            )],
            images: vec![],
            classes: vec![],
            left_out: vec![],
            promise: None,
        };
        let text = concat!(
            r#"{"version":"0.1.0","model":{"file":"net.onnx","sha256":"ab"},"#,
            r#""data":{"name":"d","split":"test","n":1,"sha256":"cd","classes":["boot"]},"#,
            r#""threat":{"norm":"linf","eps":0.5,"bounds":[0.0,1.0]},"seed":0,"inputs":[],"#,
            r#""explainers":[{"id":"pgca","parameters":{}}],"metrics":[],"#,
            r#""rows":[{"explainer":"pgca","metric":"pgca","figure":"agreement","#,
            r#""input":"clean","better":"higher","n":1,"mean":0.5,"deviation":0.0,"#,
            r#""interval":[0.5,0.5],"values":[0.5,null]}],"images":[]}"#,
        );
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<GalleryRecord>(text).unwrap(), record);
        assert_eq!(
            [record.class_name(0), record.class_name(7)],
            ["boot", "class 7"]
        );
        let named = GalleryRecord {
            classes: vec!["own".into()],
            ..record
        };
        assert_eq!(
            [named.class_name(0), named.class_name(1)],
            ["own", "class 1"]
        );
    }
}
