"""Wrong answers to the exercise of notebook 00."""

# next_volume: too short
# says: the history has 2 books, expected at least 3
my_history = [196, 197]

# next_volume: titles
# says: the history holds titles, expected book numbers (number[title] gives them)
my_history = [dataset.titles[i] for i in (1, 2, 3)]

# next_volume: a number that is no book's
# says: book numbers run from 1 to 1500, got [0, 1, 2]
my_history = [0, 1, 2]

# next_volume: books that end their series
# says: no book of ... has a next volume
my_history = list(np.flatnonzero(next_volume == 0)[1:4])

# next_volume: a list in a list
# says: the history has shape (1, 3), expected a list of book numbers
my_history = [[1, 2, 3]]

# next_volume: half numbers
# says: the history holds float64, expected whole numbers
my_history = [1.5, 2.0, 3.0]

# next_volume: a history after which another book comes first
# says: the model recommends book ... expected one of
my_history = [int(i) for i in np.flatnonzero(next_volume)[[200, 20, 120]]]

# next_volume: the recommendations themselves
# says: no book of ... has a next volume
my_history = [int(i) for i in np.flatnonzero(next_volume == 0)[5:8]]
