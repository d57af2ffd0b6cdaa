//! The report of models side by side: summary, accuracy against eps, signs of masking, explanations
//! under attack, image pages, trainings, and every parameter.

mod cases;
mod methods;
mod page;
mod parameters;
mod summary;
mod tables;

pub use page::render_html;
