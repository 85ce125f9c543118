"""What the builtin job types share: child processes, pacing and stopping, progress, lines of output."""
