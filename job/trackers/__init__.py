"""Finished runs in the tools that people watch trainings with. No run knows of it: what the records say is replayed.

    result.json, plots, weights → RecordedRun → Tracker.write, unless Tracker.read_stamp says that it is there already

recorded       a finished run as trackers want it: parameters, metrics by epoch, pictures, weights
stamps         what an export leaves of a run, so that the next one knows it again
replay         which runs are written, and which are there already
places         files that several trackers write: a run's folder, whole or absent
and a module for each of the tools in `TRACKERS`, which is imported when it is asked for
"""

from job.trackers.recorded import RecordedRun, find_runs, open_recorded
from job.trackers.replay import TRACKERS, Replayed, open_tracker, replay

__all__ = ["TRACKERS", "RecordedRun", "Replayed", "find_runs", "open_recorded", "open_tracker", "replay"]
