//! Bad input and whole sources, on files that ffmpeg makes here.
