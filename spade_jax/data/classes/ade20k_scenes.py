"""Which of ADE20K's scene categories are outdoors.

ADEChallengeData2016 tells the scene of every picture. Its names are the last parts of
ADE20K's folders: "broadleaf" is a forest, "exterior" a balcony or a gazebo, "fan" a
waterfall.

The SPADE paper's outdoor pictures are those of Qi et al. (SIMS, CVPR 2018), who never
published which they chose; others chose theirs by hand (github.com/boschresearch/OASIS,
issue 23). So this choice is ours: categories that end in "_outdoor"; those that are
outdoors for Places365 (IO_places365.txt of github.com/CSAILVision/places365), without
its interior balconies and with swimming holes; and of the others, those that name a
landscape, a road, or a building or a place as seen from outside. Where the name does
not tell ("misc", "football"), the category is left out.

About 850 of the 2,000 validation pictures are outdoors by this; the results of SIMS
hold 1,035 layouts, says the same issue. ("misc" has another 150 pictures.)
"""

_OUTDOOR = """\
abbey access_road acropolis air_base aircraft_carrier_object airfield airport alley
amphitheater amusement_park aquatic_theater aqueduct arbor arch archaelogical_excavation
archipelago army_base artificial auto_racing_paddock awning_deck back_porch backwoods
badlands bamboo_forest barbeque barn barndoor barnyard baseball baseball_field basilica
batters_box battlefield battlement bay bayou beach beach_house beer_garden bicycle_racks
block boardwalk boat boat_deck boathouse bog botanical_garden bottomland bridge
bridle_path broadleaf brooklet building_complex building_facade bullpen bullring
bus_shelter butte bypass byroad cabana cabin_cruiser campsite campus canyon
cargo_helicopter carrousel cascade castle cataract cemetery chair_lift chalet chaparral
chemical_plant chuck_wagon city cliff coast coast_road construction_site coral_reef
corn_field corral cottage cottage_garden country_house country_road courthouse courtyard
creek crevasse crosswalk cultivated customhouse dacha dam deck-house_boat_deck_house
deck-house_deck_house desert_road dirt_track ditch diving_board dock dolmen donjon
downtown drainage_ditch drill_rig driveway dry dry_dock dugout earth_fissure east_asia
electrical_substation elevated_catwalk embankment embassy escarpment estuary excavation
exterior fairway fan farm farm_building farmhouse feed_bunk fence field_house field_road
fire_escape fire_station fire_trench fish_farm fishpond fjord flashflood floating_dock
floating_dry_dock flood flood_plain flowerbed fly_bridge flying_buttress football_field
foothill forecourt foreshore forest_fire forest_path forest_road formal_garden fort
fortress fountain freestanding freeway front_porch gangplank garbage_dump garden
gas_station gas_well gasworks gate gatehouse ghost_town glacier glade glen golf_course
gorge granary grape_arbor grotto grove guardhouse guesthouse gulch hacienda harbor
hayfield heath hedge_maze hedgerow heliport hen_yard herb_garden highway hill hillock
hollow hoodoo hospital hot_spring house housing_estate housing_project hut hutment
ice_floe ice_shelf iceberg igloo industrial_area industrial_park inlet irrigation_ditch
islet japanese_garden jetty joss_house jungle junk_pile junkyard kasbah kraal lagoon
landfill landing landing_deck landing_strip lava_flow lawn layby lean-to lean-to_tent
levee lift_bridge lighthouse loading_dock lock_chamber manhole mansard mansion
manufactured_home marsh mastaba mausoleum meadow medina megalith menhir mesa
mesoamerican mews military_hut military_tent millpond millrace mission mobile_home
moon_bounce moor motel mountain mountain_path mountain_road mountain_snowy mudflat
natural natural_spring naval_base needleleaf nunnery oasis oast_house ocean ocean_deep
ocean_shallow office_building oilrig one-way_street orchard outbuilding outcropping
outside overpass oyster_farm pagoda palace parade_ground park parking_lot parkway
pasture patio pavement pavilion phone_booth picnic_area pier pinetum piste_road
pitchers_mound plantation_house playground plaza plunge police_station pond
pontoon_bridge poop_deck porch portico postern preserve priory promenade promenade_deck
pueblo pumping_station putting_green quadrangle quicksand racecourse raceway raft
railroad_track railway_yard rainforest ramp ranch ranch_house residential_neighborhood
resort rest_area rest_stop restaurant_patio retaining_wall rice_paddy rift_valley river
road road_cut rock_arch rock_garden roof roof_garden rope_bridge roundabout rubble ruin
runway safari_park salt_plain sand sand_trap sandbar sandbox savanna schoolhouse
schoolyard scrubland sea_cliff seaside seawall semidesert shed shelter shelter_tent
shopfront shore shrine shrubbery sidewalk sinkhole ski_jump ski_lodge ski_resort
ski_slope sky skyscraper slum snowbank snowfield south_asia spillway starting_gate
stone_circle street streetcar_track strip_mall strip_mine student_residence sun_deck
swamp swimming_hole t-bar_lift taxistand taxiway tea_garden terrace_farm threshing_floor
tidal_basin tidal_river tiltyard toll_plaza tollbooth tollgate topiary_garden tower
town_house tract_housing traffic_island trailer_park train_railway tree_farm tree_house
trellis trench trestle_bridge truck_stop tundra urban valley vegetable_garden vegetation
veranda viaduct village vineyard volcano walkway watchtower water water_gate water_mill
water_park water_tower watering_hole waterscape waterway wave weighbridge western
wetland wharf wheat_field wild wind_farm windmill windstorm woodland yard zen_garden
ziggurat zoo"""
_OUTDOOR_SCENES = frozenset(_OUTDOOR.split())


def is_outdoor(scene: str) -> bool:
    """Whether a scene category of sceneCategories.txt is outdoors."""
    return scene.endswith("_outdoor") or scene in _OUTDOOR_SCENES
