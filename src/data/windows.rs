//! Sliding windows over a long video (THUMOS style) and rescaling to a fixed length (ActivityNet style).
