#include "simulate/heart.h"

#include <math.h>
#include <string.h>

/* Left ventricle: RINGS from base to apex, AROUND sectors of 30 degrees. Sector 0 is the middle of the septum, 3 the
 * inferior wall, 6 the lateral wall, 9 the anterior wall. INNER is the endocardium; the outer layer of sectors 10 .. 2
 * is the right side of the septum.                                                                                 */
enum { RINGS = 5, AROUND = 12, INNER = 0, OUTER = 1, LEFT = RINGS * AROUND + 1, APEX = RINGS * AROUND };
enum { RIGHT_RINGS = 4, RIGHT_COLUMNS = 5 };
enum { SPHERE = 14, ATRIAL_RIGHT = 0, ATRIAL_LEFT = SPHERE };

#define PI 3.14159265f

/* cm/ms */
#define SPEED_PURKINJE 0.154f
#define SPEED_BASE 0.057f
#define SPEED_ALONG 0.048f
#define SPEED_ACROSS 0.0295f
#define SPEED_ATRIUM 0.085f

/* ms: how much earlier a QRS complex begins than its first node is active, and later it ends than its last. */
#define EDGE 7.5f

/* mV at a lead for a unit of the tissue's current: what brings the mean R wave to its size. */
#define UNIT_VENTRICLE 0.070f
#define UNIT_ATRIUM 0.0222f

static int left(int layer, int ring, int around)
{
    return layer * LEFT + (ring == RINGS ? APEX : ring * AROUND + (around + AROUND) % AROUND);
}

static int right(int layer, int ring, int column)
{
    return 2 * LEFT + layer * RIGHT_RINGS * RIGHT_COLUMNS + ring * RIGHT_COLUMNS + column;
}

static int is_left(int node)
{
    return node < 2 * LEFT;
}

/* The right side of the septum: an inner surface too, with a Purkinje net of the right bundle. */
static int is_right_septum(int node)
{
    const int sector = (node - LEFT) % AROUND;
    return node >= LEFT && node < LEFT + (RINGS - 1) * AROUND && (sector <= 2 || sector >= 10);
}

static int is_outer(int node)
{
    return is_left(node) ? node >= LEFT && !is_right_septum(node) : node >= right(OUTER, 0, 0);
}

/* The heart's axes in the body: base to apex, left to right ventricle, anterior to inferior wall. */
typedef struct axes {
    float along[3], septal[3], inferior[3];
} axes;

static void rotate(float v[3], int i, int j, double angle)
{
    const float c = (float)cos(angle), s = (float)sin(angle), x = v[i], y = v[j];
    v[i] = c * x - s * y;
    v[j] = s * x + c * y;
}

static void place(axes *a, const km_patient *patient)
{
    static const float along[3] = {0.578f, 0.53f, -0.621f};
    float raw[3] = {-0.23f, 0.197f, -0.957f}, dot = 0, length = 0;
    for (int k = 0; k < 3; k++)
        dot += along[k] * raw[k];
    for (int k = 0; k < 3; k++) {
        raw[k] -= dot * along[k];
        length += raw[k] * raw[k];
    }
    for (int k = 0; k < 3; k++) {
        a->along[k] = along[k];
        a->septal[k] = raw[k] / sqrtf(length);
    }
    for (int k = 0; k < 3; k++)
        a->inferior[k] = a->along[(k + 1) % 3] * a->septal[(k + 2) % 3] -
                         a->along[(k + 2) % 3] * a->septal[(k + 1) % 3];
    const float c = (float)cos(patient->roll), s = (float)sin(patient->roll);
    for (int k = 0; k < 3; k++) {
        const float x = a->septal[k], y = a->inferior[k];
        a->septal[k] = c * x - s * y;
        a->inferior[k] = s * x + c * y;
    }
    float *each[3] = {a->along, a->septal, a->inferior};
    for (int i = 0; i < 3; i++) {
        rotate(each[i], 0, 2, patient->turn);
        rotate(each[i], 0, 1, patient->lift);
        if (patient->has[KM_DEXTROCARDIA])
            each[i][0] = -each[i][0];
    }
}

/* A node at `along` cm from the middle, `radius` from the axis, in direction angle (0: septal, 90: inferior). */
static void add(km_tissue *t, const axes *a, float along, float radius, float angle)
{
    const float c = radius * cosf(angle), s = radius * sinf(angle);
    float at[3];
    for (int k = 0; k < 3; k++)
        at[k] = along * a->along[k] + c * a->septal[k] + s * a->inferior[k];
    km_tissue_node(t, at[0], at[1], at[2]);
}

static float ring_at(int ring)
{
    return 0.09f + 0.18f * (float)ring;         /* share of the way from base to apex */
}

/* The outer surface: cm from the axis, as a share of that at the base. */
static float profile(float q)
{
    return sqrtf(1 - powf(q, 2.5f));
}

/* How far a step inwards leads towards the base, for one towards the axis: the surface's slope. */
static float tilt(float q)
{
    return 3.4f * 1.25f * powf(q, 1.5f) / profile(q) / 8.0f;
}

static void build_ventricles(km_heart *heart, const axes *a)
{
    km_tissue *t = &heart->ventricles;
    const km_patient *p = heart->patient;
    t->nodes = t->edges = 0;
    const float lw = (float)p->left_mass, rw = (float)p->right_mass;
    const float thick = 1.0f * sqrtf(lw), thin = 0.34f * powf(rw, 0.35f);
    for (int layer = 0; layer < 2; layer++) {
        const float in = layer == INNER ? thick : 0;
        for (int ring = 0; ring < RINGS; ring++) {
            const float q = ring_at(ring), slant = tilt(q), step = in * (1 - 0.2f * q) / sqrtf(1 + slant * slant);
            for (int c = 0; c < AROUND; c++)
                add(t, a, 8.0f * q - 3.2f - step * slant, 3.4f * profile(q) - step, (float)c * PI / 6);
        }
        add(t, a, 4.8f - 0.8f * in, 0, 0);
    }
    for (int layer = 0; layer < 2; layer++) {
        for (int ring = 0; ring < RIGHT_RINGS; ring++) {
            const float q = ring_at(ring), slant = tilt(q) + 0.12f;
            const float step = layer == INNER ? thin / sqrtf(1 + slant * slant) : 0;
            for (int column = 0; column < RIGHT_COLUMNS; column++) {
                const float angle = (float)(column - 2) * PI / 6;
                const float radius = 3.4f * profile(q) + (0.7f + 2.1f * cosf(1.2f * angle)) * (1 - 0.55f * q) - step;
                add(t, a, 8.0f * q - 3.2f - step * slant - (ring == 0 && column < 2 ? 0.9f : 0), radius, angle);
            }
        }
    }

    const float spacing = 1.44f;
    for (int layer = 0; layer < 2; layer++) {
        for (int ring = 0; ring < RINGS; ring++) {
            const float q = ring_at(ring), around = 2 * PI * 2.9f * profile(q) / AROUND;
            const float fast = ring == 0 ? SPEED_BASE : SPEED_PURKINJE;
            for (int c = 0; c < AROUND; c++) {
                const int i = left(layer, ring, c);
                const int beside = left(layer, ring, c + 1), below = left(layer, ring + 1, c);
                km_tissue_edge(t, i, beside, lw * spacing * 0.5f,
                               is_outer(i) || is_outer(beside) ? SPEED_ALONG : fast);
                km_tissue_edge(t, i, below, lw * around * 0.5f,
                               is_outer(i) || is_outer(below) ? 0.8f * SPEED_ALONG : fast);
                if (layer == INNER)
                    km_tissue_edge(t, i, left(OUTER, ring, c), lw * spacing * around * sqrtf(1 + tilt(q) * tilt(q)),
                                   SPEED_ACROSS);
            }
        }
    }
    km_tissue_edge(t, left(INNER, RINGS, 0), left(OUTER, RINGS, 0), lw * 7.0f, SPEED_ACROSS);
    for (int layer = 0; layer < 2; layer++) {
        for (int ring = 0; ring < RIGHT_RINGS; ring++) {
            const float fast = ring == 0 ? SPEED_BASE : SPEED_PURKINJE;
            for (int column = 0; column < RIGHT_COLUMNS; column++) {
                const int i = right(layer, ring, column);
                if (column + 1 < RIGHT_COLUMNS)
                    km_tissue_edge(t, i, right(layer, ring, column + 1), rw * spacing * 0.2f,
                                   layer == INNER ? fast : SPEED_ALONG);
                if (ring + 1 < RIGHT_RINGS)
                    km_tissue_edge(t, i, right(layer, ring + 1, column), rw * 2.0f * 0.2f,
                                   layer == INNER ? fast : 0.8f * SPEED_ALONG);
                if (layer == INNER)
                    km_tissue_edge(t, i, right(OUTER, ring, column), rw * spacing * 2.0f * 0.56f, SPEED_ACROSS);
            }
            km_tissue_edge(t, right(layer, ring, 0), left(OUTER, ring, -3), rw * 0.3f, SPEED_ALONG);
            km_tissue_edge(t, right(layer, ring, RIGHT_COLUMNS - 1), left(OUTER, ring, 3), rw * 0.3f, SPEED_ALONG);
        }
    }
    for (int column = 0; column < RIGHT_COLUMNS; column++)
        km_tissue_edge(t, right(INNER, RIGHT_RINGS - 1, column), left(OUTER, RINGS - 1, column - 2), rw * 0.3f,
                       SPEED_ALONG);
}

/* Where the wave begins, and when (ms after the bundle of His has fired). */
static void start(float *time, const km_heart *heart, km_origin origin)
{
    const km_patient *p = heart->patient;
    const int nodes = heart->ventricles.nodes;
    for (int i = 0; i < nodes; i++)
        time[i] = KM_TISSUE_NEVER;
    const uint8_t *has = p->has;
    if (origin == KM_ORIGIN_HIS || origin == KM_ORIGIN_ABERRANT) {
        if (!has[KM_LBBB]) {
            const float late = has[KM_INCOMPLETE_LBBB] ? 20 : 0;
            if (!has[KM_INCOMPLETE_LBBB])
                time[left(INNER, 2, p->septal_gap ? 2 : 1)] = p->septal_gap ? 6 : 0;
            if (!has[KM_ANTERIOR_FASCICLE])
                time[left(INNER, 1, -2)] = late;
            if (!has[KM_POSTERIOR_FASCICLE])
                time[left(INNER, 2, 4)] = (has[KM_ANTERIOR_FASCICLE] ? 3 : 14.2f) + late;
        }
        if (!has[KM_RBBB] && origin != KM_ORIGIN_ABERRANT) {
            const float late = has[KM_INCOMPLETE_RBBB] ? 24 : 0;
            time[right(INNER, 2, 1)] = (has[KM_LBBB] ? 0 : 4.7f) + late;
            time[left(OUTER, 3, 0)] = (has[KM_LBBB] ? 2 : 3.4f) + late;
        }
        if (has[KM_PREEXCITATION]) {
            static const struct { int is_left, ring, around; } pathways[] = {
                {1, 0, 6}, {1, 0, 5}, {1, 0, 3}, {1, 0, 2}, {0, 0, 4}, {0, 0, 3}, {0, 0, 1}};
            const int at = (int)(p->pathway * 6.999);
            const int node = pathways[at].is_left ? left(OUTER, 0, pathways[at].around)
                                                  : right(OUTER, 0, pathways[at].around);
            time[node] = -(float)p->preexcitation;
        }
        return;
    }
    if (origin == KM_ORIGIN_PACED) {
        time[right(INNER, 3, p->pathway < 0.75 ? 2 : 0)] = 0;
        return;
    }
    /* Foci: outflow tract more often than not; the second one elsewhere. */
    const double away = origin == KM_ORIGIN_FOCUS_B ? 0.47 : origin == KM_ORIGIN_ESCAPE ? 0.71 : 0;
    const double at = fmod(p->pathway * 7.3 + away, 1.0);
    if (at < 0.35)
        time[right(INNER, 0, 0)] = 0;
    else if (at < 0.5)
        time[right(INNER, 3, 2)] = 0;
    else if (at < 0.62)
        time[left(INNER, 3, 4)] = 0;
    else if (at < 0.75)
        time[left(INNER, 1, 8)] = 0;
    else if (at < 0.88)
        time[left(OUTER, 0, 6)] = 0;
    else
        time[left(OUTER, 4, 10)] = 0;
}

/* How much slower the nodes conduct than in a beat through intact bundles: the Purkinje net is entered late or not. */
static void slowness(float *slow, const km_heart *heart, km_origin origin)
{
    const uint8_t *has = heart->patient->has;
    const int his = origin == KM_ORIGIN_HIS || origin == KM_ORIGIN_ABERRANT;
    const float hyper = has[KM_HYPERKALEMIA] ? 1.0f + 0.5f * (float)heart->patient->severity : 1.0f;
    for (int i = 0; i < heart->ventricles.nodes; i++) {
        const int fast_layer = !is_outer(i), rv = !is_left(i) || is_right_septum(i);
        const int sector = i % LEFT % AROUND;
        float s = hyper;
        if (!his)
            s *= fast_layer ? 1.1f : 1.0f;
        else if (!rv && has[KM_LBBB])
            s *= fast_layer ? 1.15f : 1.0f;
        else if (rv && (has[KM_RBBB] || origin == KM_ORIGIN_ABERRANT))
            s *= fast_layer ? 1.3f : 1.0f;
        else if (!rv && ((has[KM_ANTERIOR_FASCICLE] && sector >= 7) ||
                         (has[KM_POSTERIOR_FASCICLE] && sector >= 1 && sector <= 5)))
            s *= fast_layer ? 1.2f : 1.0f;
        else if (has[KM_SLOW_MYOCARDIUM])
            s *= fast_layer ? 1.7f : 1.35f;
        slow[i] = s;
    }
}

/* 1 within `size` cm of a wall's middle (between the four nodes around it), falling to 0 over 1.5 cm. */
static float within(const km_heart *heart, int node, double ring, double around, double size)
{
    const km_tissue *t = &heart->ventricles;
    const int low = (int)ring, layer = is_outer(node) ? OUTER : INNER, c = (int)floor(around);
    const double up = ring - low, on = around - c;
    float d2 = 0;
    for (int k = 0; k < 3; k++) {
        const double above = (1 - on) * t->at[left(layer, low, c)][k] + on * t->at[left(layer, low, c + 1)][k];
        const double below = (1 - on) * t->at[left(layer, low + 1, c)][k] + on * t->at[left(layer, low + 1, c + 1)][k];
        const float d = (float)(t->at[node][k] - ((1 - up) * above + up * below));
        d2 += d * d;
    }
    const float d = ((float)size + 0.75f - sqrtf(d2)) / 1.5f;
    return d < 0 ? 0 : d > 1 ? 1 : d;
}

static const struct { int mechanism; double ring, around, size; } walls[] = {
    {KM_INFARCT_ANTERIOR, 2.8, 9.4, 1.1},      {KM_INFARCT_ANTEROSEPTAL, 2.6, 10.5, 1.05},
    {KM_INFARCT_SEPTAL, 2.0, 11.6, 0.85},      {KM_INFARCT_ANTEROLATERAL, 2.6, 8.0, 1.2},
    {KM_INFARCT_LATERAL, 1.8, 6.6, 1.0},       {KM_INFARCT_INFERIOR, 1.8, 3.0, 1.0},
    {KM_INFARCT_INFEROLATERAL, 2.0, 4.3, 1.15}, {KM_INFARCT_POSTERIOR, 0.8, 5.0, 1.0},
    {KM_INFARCT_INFEROPOSTERIOR, 1.0, 3.9, 1.15},
    {KM_ISCHEMIA_ANTERIOR, 2.8, 9.8, 1.1},     {KM_ISCHEMIA_ANTEROLATERAL, 2.8, 8.4, 1.3},
    {KM_ISCHEMIA_LATERAL, 2.4, 6.8, 1.05},     {KM_ISCHEMIA_INFERIOR, 2.0, 3.0, 1.1},
    {KM_INJURY_ANTERIOR, 2.8, 9.8, 1.1},       {KM_INJURY_LATERAL, 2.2, 6.8, 1.05},
    {KM_INJURY_INFERIOR, 2.0, 3.0, 1.1},
};

/* Scars, injury and ischaemia; drugs and electrolytes; strain. */
static void disturb(km_heart *heart)
{
    const km_patient *p = heart->patient;
    const uint8_t *has = p->has;
    km_tissue *t = &heart->ventricles;
    const float severity = (float)p->severity;
    const int inverted = p->pathway < 0.5;              /* ischaemia: inverted T waves, or ST depression */
    for (size_t w = 0; w < sizeof walls / sizeof *walls; w++) {
        const int m = walls[w].mechanism;
        if (!has[m])
            continue;
        for (int i = 0; i < t->nodes; i++) {
            const float in = within(heart, i, walls[w].ring, walls[w].around, walls[w].size * p->infarct_size) *
                             (is_left(i) ? 1 : 0.35f);
            if (in <= 0)
                continue;
            const int outer = is_outer(i);
            if (m <= KM_INFARCT_INFEROPOSTERIOR) {
                static const float lost[3] = {0.5f, 0.8f, 0.85f}, injured[3] = {0.45f, 0.10f, 0.0f},
                                   longer[3] = {5, 85, 40};
                t->alive[i] *= 1 - lost[p->infarct_stage] * in * (outer ? 0.85f : 1);
                heart->amplitude[i] -= injured[p->infarct_stage] * (0.4f + 0.6f * severity) * in * (outer ? 1 : 0.25f);
                heart->apd[i] += longer[p->infarct_stage] * in * (outer ? 1 : 0.35f);
            } else if (m <= KM_ISCHEMIA_INFERIOR) {
                if (inverted)
                    heart->apd[i] += (45 + 75 * severity) * in * (outer ? 1 : 0.2f);
                else if (!outer)
                    heart->amplitude[i] -= (0.10f + 0.16f * severity) * in;
            } else {
                heart->amplitude[i] -= (0.14f + 0.26f * severity) * in * (outer ? 1 : 0.3f);
            }
        }
    }
    for (int i = 0; i < t->nodes; i++) {
        const int outer = is_outer(i), lv = is_left(i) && !is_right_septum(i);
        float *a = &heart->amplitude[i], *apd = &heart->apd[i];
        if (has[KM_ISCHEMIA] && lv && !outer)
            *a -= 0.05f + 0.12f * severity;
        if (has[KM_ISCHEMIA] && lv && outer && inverted)
            *apd += 40 * severity;
        if (has[KM_PERICARDITIS] && outer)
            *a -= 0.07f + 0.09f * severity;
        if (has[KM_EARLY_REPOLARISATION] && outer && lv && i % LEFT >= AROUND) {
            *a -= 0.05f + 0.06f * severity;
            *apd -= 14;
        }
        if (has[KM_DIGITALIS] && lv && !outer) {
            *a -= 0.05f + 0.06f * severity;
            *apd -= 12;
        }
        if (has[KM_HYPOKALEMIA] && lv && !outer)
            *a -= 0.02f + 0.05f * severity;
        if (has[KM_NONSPECIFIC_STT] && lv && !outer)
            *a -= 0.02f + 0.035f * severity;
        if (has[KM_BRUGADA] && !lv && outer && (i - right(OUTER, 0, 0)) / RIGHT_COLUMNS < 2) {
            *a -= 0.6f + 0.3f * severity;
            *apd += 90;
        }
        if (p->strain > 0 && outer && (lv ? has[KM_LVH] : has[KM_RVH]))
            *apd += (lv ? 58 : 90) * (float)p->strain;
        if (p->strain > 0 && !outer && lv && has[KM_LVH])
            *a -= 0.03f * (float)p->strain;
    }
}

static void build_atria(km_heart *heart)
{
    static const float centre[2][3] = {{-2.8f, -4.8f, 3.4f}, {1.2f, -4.9f, 3.4f}};
    km_tissue *t = &heart->atria;
    const km_patient *p = heart->patient;
    t->nodes = t->edges = 0;
    for (int side = 0; side < 2; side++) {
        const float *c = centre[side], mirror = p->has[KM_DEXTROCARDIA] ? -1 : 1;
        const float size = (float)pow(side == 0 ? p->right_atrium : p->left_atrium, 0.25), flat = 2.3f * size;
        km_tissue_node(t, mirror * c[0], c[1] - flat, c[2]);
        for (int row = 0; row < 2; row++)
            for (int k = 0; k < 6; k++)
                km_tissue_node(t, mirror * (c[0] + 2.0f * size * cosf((float)k * PI / 3)),
                               c[1] + (row == 0 ? -0.5f : 0.5f) * flat, c[2] + 2.0f * size * sinf((float)k * PI / 3));
        km_tissue_node(t, mirror * c[0], c[1] + flat, c[2]);
    }
    for (int side = 0; side < 2; side++) {
        const int at = side * SPHERE;
        const float area = (float)(side == 0 ? p->right_atrium : p->left_atrium);
        const float speed = side == 1 && p->has[KM_LEFT_ATRIUM] ? 0.8f * SPEED_ATRIUM : SPEED_ATRIUM;
        for (int k = 0; k < 6; k++) {
            const int upper = at + 1 + k, lower = at + 7 + k;
            km_tissue_edge(t, at, upper, area, speed);
            km_tissue_edge(t, upper, at + 1 + (k + 1) % 6, area, speed);
            km_tissue_edge(t, lower, at + 7 + (k + 1) % 6, area, speed);
            km_tissue_edge(t, upper, lower, area, 1.2f * speed);
            km_tissue_edge(t, lower, at + 13, area, speed);
        }
    }
    /* Bachmann's bundle before the aorta, and the region of the coronary sinus. */
    km_tissue_edge(t, ATRIAL_RIGHT + 1 + 5, ATRIAL_LEFT + 1 + 4, 0.5f, 1.5f * SPEED_ATRIUM);
    km_tissue_edge(t, ATRIAL_RIGHT + 7 + 0, ATRIAL_LEFT + 7 + 3, 0.5f, 0.7f * SPEED_ATRIUM);
}

static void start_atria(float *time, const km_heart *heart, km_origin origin)
{
    static const int foci[] = {
        ATRIAL_RIGHT + 7 + 1, ATRIAL_LEFT + 1 + 1, ATRIAL_RIGHT + 13, ATRIAL_LEFT + 7 + 0, ATRIAL_RIGHT + 1 + 3,
        ATRIAL_LEFT + 0, ATRIAL_RIGHT + 7 + 4};
    for (int i = 0; i < heart->atria.nodes; i++)
        time[i] = KM_TISSUE_NEVER;
    const int at = (int)(heart->patient->pathway * 6.999);
    switch (origin) {
    case KM_ORIGIN_ATRIAL_A: time[foci[at]] = 0; break;
    case KM_ORIGIN_ATRIAL_B: time[foci[(at + 2) % 7]] = 0; break;
    case KM_ORIGIN_ATRIAL_C: time[foci[(at + 5) % 7]] = 0; break;
    case KM_ORIGIN_RETROGRADE: time[ATRIAL_RIGHT + 7 + 0] = 0; break;
    case KM_ORIGIN_FLUTTER: time[ATRIAL_RIGHT + 13] = 0; break;
    default: time[ATRIAL_RIGHT] = 0; break;
    }
}

typedef struct seen_from {
    const km_torso *torso;
    float unit;                             /* mV for a unit of the tissue's current                    */
} seen_from;

static void field(float f[KM_TISSUE_CHANNELS][3], const void *context, const float at[3])
{
    const seen_from *seen = context;
    const km_torso *torso = seen->torso;
    for (int k = 0; k < 3; k++) {
        f[0][k] = seen->unit * torso->limb[0][k];
        f[1][k] = seen->unit * torso->limb[1][k];
    }
    for (int i = 0; i < 6; i++) {
        float d[3], d2 = 0;
        for (int k = 0; k < 3; k++) {
            d[k] = torso->chest[i][k] - at[k];
            d2 += d[k] * d[k];
        }
        const float g = torso->gain * powf(d2 + 3, -0.5f * torso->falloff);
        for (int k = 0; k < 3; k++)
            f[2 + i][k] = seen->unit * (g * d[k] + torso->far[i][k]);
    }
}

static float largest(const float *x, int count)
{
    float y = x[0];
    for (int i = 1; i < count; i++)
        y = km_higher(y, x[i]);
    return y;
}

static float smallest(const float *x, int count)
{
    float y = x[0];
    for (int i = 1; i < count; i++)
        y = km_lower(y, x[i]);
    return y;
}

void km_heart_create(km_heart *heart, const km_patient *patient, double rr, km_rng *rng)
{
    const uint8_t *has = patient->has;
    heart->patient = patient;
    axes a;
    place(&a, patient);
    build_ventricles(heart, &a);
    build_atria(heart);
    km_tissue *v = &heart->ventricles;

    /* The undisturbed heart's activation sets the pace: its QRS takes patient->qrs. */
    km_patient sound = *patient;
    memset(sound.has, 0, sizeof sound.has);
    km_heart *h = heart;
    h->patient = &sound;
    float time[KM_TISSUE_NODES];
    for (int pass = 0; pass < 4; pass++) {      /* a few: the fascicles' own delays do not scale */
        start(time, h, KM_ORIGIN_HIS);
        km_tissue_activate(time, v, NULL);
        const float span = largest(time, v->nodes) - smallest(time, v->nodes);
        const float pace = ((float)patient->qrs - 2 * EDGE) / span;
        for (int e = 0; e < v->edges && pass < 3; e++)
            v->delay[e] *= pace;
    }
    h->patient = patient;

    /* APD: the longer the earlier a node is activated; shorter outside than inside. */
    double gradient = patient->gradient, width = patient->t_width;
    if (has[KM_HYPERKALEMIA]) {
        gradient *= 1.5 + 1.2 * patient->severity;
        width *= 0.62;
    } else if (has[KM_HYPOKALEMIA]) {
        gradient *= 0.15;
    } else if (has[KM_NONSPECIFIC_STT] || has[KM_NONSPECIFIC_T]) {
        gradient *= 0.1 - 0.6 * (patient->severity - 0.35);
    } else if (has[KM_EARLY_REPOLARISATION]) {
        gradient *= 1.4;
    }
    const double dull = has[KM_HYPOKALEMIA] || has[KM_NONSPECIFIC_STT] || has[KM_NONSPECIFIC_T] ? 0.25 : 1;
    double mean = 0;
    for (int i = 0; i < v->nodes; i++)
        mean += time[i] / v->nodes;
    heart->qt = fmin(patient->qtc * cbrt(rr), 920 * rr);
    const float wander = (float)(2.5 * km_rng_normal(rng));
    for (int i = 0; i < v->nodes; i++) {
        const double slope = 1 + (patient->slope - 1) * dull;
        heart->apd[i] = (float)(-slope * (time[i] - mean) + gradient * (is_outer(i) ? -0.5 : 0.5));
        if (!is_left(i))
            heart->apd[i] += wander - 6.7f;
        for (int k = 0; k < 3; k++)
            heart->apd[i] += (float)patient->delay[k] * v->at[i][k];
        heart->amplitude[i] = 1;
    }
    float last = -1e9f;
    for (int i = 0; i < v->nodes; i++)
        last = km_higher(last, time[i] + heart->apd[i]);
    const float base = (float)(heart->qt - 1.05 * width) - last;
    for (int i = 0; i < v->nodes; i++)
        heart->apd[i] += base;
    disturb(heart);
    for (int i = 0; i < v->nodes; i++)
        heart->apd[i] = km_higher(heart->apd[i], 90);

    heart->step = (km_tissue_step){
        .rise = 10, .fall = (int)width, .slope = (int)(0.51 * heart->qt), .sloping = 0.37f,
        .late = has[KM_HYPOKALEMIA] ? 0.45f : has[KM_HYPERKALEMIA] ? 0 : 0.03f,
        .late_by = has[KM_HYPOKALEMIA] ? 150 : 175,
    };
    if (has[KM_HYPERKALEMIA])
        heart->step.sloping = 0.12f;
    else if (has[KM_HYPERCALCEMIA])
        heart->step.sloping = 0.05f;
    else if (has[KM_DIGITALIS])
        heart->step.sloping = 0.45f;

    seen_from seen = {&patient->torso, UNIT_VENTRICLE * (float)patient->scale};
    km_tissue_see(v, field, &seen);
    seen.unit = UNIT_ATRIUM * (float)(patient->atrial_scale * (has[KM_LOW_VOLTAGE] ? 0.7 : 1) *
                                      (has[KM_HYPERKALEMIA] ? 1 - 0.7 * patient->severity : 1));
    km_tissue_see(&heart->atria, field, &seen);

    km_tissue *atria = &heart->atria;
    start_atria(time, heart, KM_ORIGIN_SINUS);
    km_tissue_activate(time, atria, NULL);
    const float slow = ((float)patient->p - 8) / largest(time, atria->nodes);
    for (int e = 0; e < atria->edges; e++)
        atria->delay[e] *= slow;

    start(time, heart, KM_ORIGIN_HIS);
    heart->early = smallest(time, v->nodes);
}

void km_heart_wave(km_wave *wave, km_heart_times *times, const km_heart *heart, km_origin origin)
{
    float time[KM_TISSUE_NODES], end[KM_TISSUE_NODES], slow[KM_TISSUE_NODES], amplitude[KM_TISSUE_NODES];
    if (origin < KM_ORIGINS_VENTRICULAR) {
        const km_tissue *v = &heart->ventricles;
        start(time, heart, origin);
        slowness(slow, heart, origin);
        km_tissue_activate(time, v, slow);
        for (int i = 0; i < v->nodes; i++)
            end[i] = time[i] + heart->apd[i];
        km_tissue_wave(wave, v, time, end, heart->amplitude, &heart->step);
        times->first = smallest(time, v->nodes) - EDGE;
        times->last = largest(time, v->nodes) + EDGE;
        times->end = largest(end, v->nodes) + 1.05f * (float)heart->step.fall;
        return;
    }
    const km_tissue *atria = &heart->atria;
    const int flutter = origin == KM_ORIGIN_FLUTTER;
    start_atria(time, heart, origin);
    km_tissue_activate(time, atria, NULL);
    float scale = 1;
    if (flutter) {
        /* Around the right atrium once a cycle: up the septum, down the free wall. */
        scale = (float)(0.92 * 60000 / heart->patient->rate) / largest(time, atria->nodes);
        for (int k = 0; k < 6; k++) {
            const float turn = (float)(0.85 * 60000 / heart->patient->rate) * (float)k / 6;
            time[ATRIAL_RIGHT + 1 + k] = turn * 0.9f + 30;
            time[ATRIAL_RIGHT + 7 + k] = turn * 0.9f;
        }
    }
    for (int i = 0; i < atria->nodes; i++) {
        if (flutter && i >= ATRIAL_LEFT)
            time[i] *= scale;
        end[i] = time[i] + (flutter ? 105 : 190);
        amplitude[i] = flutter ? 1.15f : 1;
    }
    const km_tissue_step step = {.rise = flutter ? 16 : 13, .fall = flutter ? 45 : 80, .slope = 10};
    km_tissue_wave(wave, atria, time, end, amplitude, &step);
    times->first = -5;
    times->last = largest(time, atria->nodes) + 5;
    times->end = largest(end, atria->nodes) + (float)step.fall;
}
