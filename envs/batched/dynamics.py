"""One step of each plant that can be batched: compiled, and to the bit what the single environment computes.

`move` takes the states [E, S] of float64, the number e of an environment, the action x [A] that reaches its plant (a
discrete one as its number) and columns [E, P], the constants that `envs.batched.bodies` reads from the environment;
row e of the states moves on. Rows are indexed, never cut out: a view costs more than a step of CartPole. Sums and
products stand in the order of the environment's own expressions, and what it computes in single precision is computed
so here.
"""

import math
from types import FunctionType

import numpy as np
from numba import njit

from envs import point

CARTPOLE, PENDULUM, ACROBOT, MOUNTAIN_CAR, MOUNTAIN_CAR_CONTINUOUS, POINT_WIND, POINT_GOAL = range(7)
TWO = np.array([2.0])  # read at run time, so that a square is the library's power, as it is in Python


_plant = njit(error_model="numpy", inline="always")


def _compiled(function, **names):
    """A pure function of `envs.point`, compiled; `names` are the compiled functions that it calls."""
    return _plant(FunctionType(function.__code__, {"math": math, **names}, function.__name__))


_hashed = _compiled(point.hashed)
_place = _compiled(point.random_place, hashed=_hashed)
_shared = {
    "thrust": _compiled(point.thrust),
    "moved": _compiled(point.moved),
    "random_place": _place,
}
_wind_step = _compiled(point.wind_step, **_shared)
_goal_step = _compiled(point.goal_step, **_shared)


@_plant
def _cartpole(state, e, x, columns):
    x_limit, theta_limit, push, gravity = columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3]
    total_mass, polemass_length, pole_mass = columns[e, 4], columns[e, 5], columns[e, 6]
    length, tau = columns[e, 7], columns[e, 8]
    place, speed, theta, omega = state[e, 0], state[e, 1], state[e, 2], state[e, 3]
    force = push if x[0] == 1.0 else -push
    cos, sin = math.cos(theta), math.sin(theta)
    temp = (force + polemass_length * (omega * omega) * sin) / total_mass
    theta_acc = (gravity * sin - cos * temp) / (length * (4.0 / 3.0 - pole_mass * (cos * cos) / total_mass))
    x_acc = temp - polemass_length * theta_acc * cos / total_mass
    place += tau * speed
    theta += tau * omega
    state[e, 0], state[e, 1] = place, speed + tau * x_acc
    state[e, 2], state[e, 3] = theta, omega + tau * theta_acc
    return 1.0, place < -x_limit or place > x_limit or theta < -theta_limit or theta > theta_limit


@_plant
def _pendulum(state, e, x, columns, two):
    max_torque, max_speed, fall, lever, dt = (
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4]
    )  # fmt: skip
    theta, omega = state[e, 0], state[e, 1]
    u = np.float32(min(max(x[0], -max_torque), max_torque))
    angle = (theta + math.pi) % (2 * math.pi) - math.pi
    cost = angle**two + 0.1 * omega**two + np.float64(np.float32(0.001) * u ** np.float32(two))
    speed = omega + (fall * math.sin(theta) + np.float64(np.float32(lever) * u)) * dt
    speed = min(max(speed, -max_speed), max_speed)
    state[e, 0], state[e, 1] = theta + speed * dt, speed
    return -cost, False


@_plant
def _acrobot_rates(s0, s1, s2, s3, torque, columns, e, two):
    """The book's equations (Sutton and Barto), with the products of constants in columns: both accelerations."""
    a, b, c, m2 = columns[e, 3], columns[e, 4], columns[e, 5], columns[e, 6]
    i1, i2, d, f = columns[e, 7], columns[e, 8], columns[e, 9], columns[e, 10]
    cos, sin = math.cos(s1), math.sin(s1)
    d1 = a + m2 * (b + c * cos) + i1 + i2
    d2 = m2 * (d + f * cos) + i2
    phi2 = columns[e, 11] * math.cos(s0 + s1 - math.pi / 2.0)
    phi1 = columns[e, 12] * s3**two * sin - columns[e, 13] * s3 * s2 * sin
    phi1 = phi1 + columns[e, 14] * math.cos(s0 - math.pi / 2) + phi2
    acc_2 = torque + d2 / d1 * phi1 - columns[e, 15] * s2**two * sin - phi2
    acc_2 = acc_2 / (columns[e, 16] - d2**two / d1)
    return -(d2 * acc_2 + phi1) / d1, acc_2


@_plant
def _wrapped(angle):
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle < -math.pi:
        angle += 2 * math.pi
    return angle


@_plant
def _acrobot(state, e, x, columns, two):
    dt, max_1, max_2 = columns[e, 0], columns[e, 1], columns[e, 2]
    torque = columns[e, 17 + int(x[0])]
    half, third = dt / 2.0, dt / 6.0
    s0, s1, s2, s3 = state[e, 0], state[e, 1], state[e, 2], state[e, 3]
    a2, a3 = _acrobot_rates(s0, s1, s2, s3, torque, columns, e, two)
    b0, b1, b2, b3 = s0 + half * s2, s1 + half * s3, s2 + half * a2, s3 + half * a3
    c2, c3 = _acrobot_rates(b0, b1, b2, b3, torque, columns, e, two)
    d0, d1, d2, d3 = s0 + half * b2, s1 + half * b3, s2 + half * c2, s3 + half * c3
    f2, f3 = _acrobot_rates(d0, d1, d2, d3, torque, columns, e, two)
    g0, g1, g2, g3 = s0 + dt * d2, s1 + dt * d3, s2 + dt * f2, s3 + dt * f3
    h2, h3 = _acrobot_rates(g0, g1, g2, g3, torque, columns, e, two)
    n0, n1 = s0 + third * (s2 + 2 * b2 + 2 * d2 + g2), s1 + third * (s3 + 2 * b3 + 2 * d3 + g3)
    n2, n3 = s2 + third * (a2 + 2 * c2 + 2 * f2 + h2), s3 + third * (a3 + 2 * c3 + 2 * f3 + h3)
    n0, n1 = _wrapped(n0), _wrapped(n1)
    state[e, 0], state[e, 1] = n0, n1
    state[e, 2], state[e, 3] = min(max(n2, -max_1), max_1), min(max(n3, -max_2), max_2)
    up = -math.cos(n0) - math.cos(n1 + n0) > 1.0
    return (0.0 if up else -1.0), up


@_plant
def _mountain_car(state, e, x, columns):
    low, high, max_speed, goal, goal_speed = (
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4]
    )  # fmt: skip
    place, speed = state[e, 0], state[e, 1]
    speed = speed + ((x[0] - 1.0) * columns[e, 5] + math.cos(3 * place) * -columns[e, 6])
    speed = min(max(speed, -max_speed), max_speed)
    place = min(max(place + speed, low), high)
    if place == low and speed < 0:
        speed = 0.0
    state[e, 0], state[e, 1] = place, speed
    return -1.0, place >= goal and speed >= goal_speed


@_plant
def _mountain_car_continuous(state, e, x, columns):
    """The third entry of the state says that it is a start, which Gymnasium keeps in double precision."""
    low, high, max_speed, goal, goal_speed, power, gravity = (
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4], columns[e, 5], columns[e, 6]
    )  # fmt: skip
    place, speed, single = state[e, 0], state[e, 1], state[e, 2] == 0.0
    thrice = np.float64(np.float32(3.0) * np.float32(place)) if single else 3 * place
    if -1.0 <= x[0] <= 1.0:
        push = np.float32(x[0]) * np.float32(power) - np.float32(gravity * math.cos(thrice))
        gain = np.float64(push)
    else:
        gain = min(max(x[0], -1.0), 1.0) * power - gravity * math.cos(thrice)
    speed = np.float64(np.float32(speed) + np.float32(gain)) if single else speed + gain
    speed = min(max(speed, -max_speed), max_speed)
    place = np.float64(np.float32(place) + np.float32(speed)) if single else place + speed
    place = max(min(place, high), low)
    if place == low and speed < 0:
        speed = 0.0
    done = place >= (np.float64(np.float32(goal)) if single else goal) and speed >= goal_speed
    state[e, 0], state[e, 1], state[e, 2] = np.float32(place), np.float32(speed), 0.0
    return (100.0 if done else 0.0) - x[0] * x[0] * 0.1, done


@_plant
def _point_wind(state, e, x, columns):
    state[e, 0], state[e, 1], state[e, 2], state[e, 3], state[e, 5], reward = _wind_step(
        state[e, 0], state[e, 1], state[e, 2], state[e, 3], int(state[e, 4]), int(state[e, 5]), x[0], x[1],
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4], columns[e, 5],
    )  # fmt: skip
    return reward, False


@_plant
def _point_goal(state, e, x, columns):
    state[e, 0], state[e, 1], state[e, 2], state[e, 4], reward = _goal_step(
        state[e, 0], state[e, 1], int(state[e, 2]), int(state[e, 3]), int(state[e, 4]), x[0], x[1],
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], int(columns[e, 4]), columns[e, 5],
    )  # fmt: skip
    return reward, False


@_plant
def move(kind, state, e, x, columns, two):  # noqa: PLR0911 one for each kind
    """One step of environment e, a plant `kind`: its state moves; reward and whether the episode terminated."""
    if kind == CARTPOLE:
        return _cartpole(state, e, x, columns)
    if kind == PENDULUM:
        return _pendulum(state, e, x, columns, two)
    if kind == ACROBOT:
        return _acrobot(state, e, x, columns, two)
    if kind == MOUNTAIN_CAR:
        return _mountain_car(state, e, x, columns)
    if kind == MOUNTAIN_CAR_CONTINUOUS:
        return _mountain_car_continuous(state, e, x, columns)
    if kind == POINT_WIND:
        return _point_wind(state, e, x, columns)
    return _point_goal(state, e, x, columns)


@_plant
def start(kind, state, e, drawn, first):
    """A first state of environment e from the random numbers drawn[e, first:] of its reset, see `Body.draw`."""
    for i in range(state.shape[1]):
        state[e, i] = 0.0
    u = drawn[e, first]
    if kind == CARTPOLE:
        for i in range(4):
            state[e, i] = -0.05 + (0.05 - -0.05) * drawn[e, first + i]
    elif kind == PENDULUM:
        state[e, 0] = -math.pi + (math.pi - -math.pi) * u
        state[e, 1] = -1.0 + (1.0 - -1.0) * drawn[e, first + 1]
    elif kind == ACROBOT:
        for i in range(4):
            state[e, i] = np.float32(-0.1 + (0.1 - -0.1) * drawn[e, first + i])
    elif kind in (MOUNTAIN_CAR, MOUNTAIN_CAR_CONTINUOUS):
        state[e, 0] = -0.6 + (-0.4 - -0.6) * u
        state[e, 2] = 1.0
    elif kind == POINT_WIND:
        state[e, 0], state[e, 1] = _place(int(u), 0, 1.0)
        state[e, 2], state[e, 3] = _place(int(u), 1, 0.9)
        state[e, 4], state[e, 5] = u, 2
    else:
        state[e, 0], state[e, 1] = _place(int(u), 0, 1.0)
        state[e, 3], state[e, 4] = u, 1


@_plant
def observe(kind, state, e, out):
    """What the environment shows of its state: out [O, …], float32."""
    if kind == PENDULUM:
        out[0], out[1], out[2] = math.cos(state[e, 0]), math.sin(state[e, 0]), state[e, 1]
    elif kind == ACROBOT:
        out[0], out[1] = math.cos(state[e, 0]), math.sin(state[e, 0])
        out[2], out[3] = math.cos(state[e, 1]), math.sin(state[e, 1])
        out[4], out[5] = state[e, 2], state[e, 3]
    elif kind == POINT_WIND:
        out[0], out[1] = state[e, 2] - state[e, 0], state[e, 3] - state[e, 1]
    elif kind == POINT_GOAL:
        out[0], out[1], out[2] = state[e, 0], state[e, 1], state[e, 2] > 0
    else:
        out[0], out[1] = state[e, 0], state[e, 1]
        if kind == CARTPOLE:
            out[2], out[3] = state[e, 2], state[e, 3]
