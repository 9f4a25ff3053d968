"""Grading a class: verdicts from where answers cannot write.

    grade ──tasks──> judge ──values──> answers
    (one)            (one a job)       (one an exercise)

- `answers` is the process that runs an answer: the notebook's imports and definitions, the cells of
  the student, and nothing else of the notebook. It knows no grader and no verdict.
- `judge` runs the exercise's grader. To it the answer is a stand-in: calling it sends the arguments
  over and gets plain numbers and arrays back (`wire`). An answer can print, patch, exit, crash or
  write to every file it has: all that reaches the judge are values, and wrong values are wrong.
- `grade` hands out the work, keeps the rows and writes the files. It reads all submissions before
  the first answer runs.
- `confine` takes from an answer what it does not need: memory, files, other processes.
- `cells` finds answers in notebooks.
"""
