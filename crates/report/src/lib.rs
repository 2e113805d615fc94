//! Tables, JSON, charts and traces.
